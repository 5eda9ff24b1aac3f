#include "launch/doctor/doctor.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands/command.h"

namespace kiln {

std::function<CommandResult()> declare_doctor(CLI::App& app) {
  auto words = std::make_shared<DoctorWords>();
  app.add_option("recipe", words->recipe,
                 "Also checks what this recipe needs: datasets, run folder, room, GPUs.");
  app.add_option("overrides", words->overrides, "section.key=value, over the recipe.");
  set_examples(
      app,
      "  kiln doctor\n"
      "  mpirun -np 8 kiln doctor configs/mae_base_imagenet.toml\n"
      "  srun --mpi=pmix kiln doctor RECIPE\n\n"
      "Start it exactly as training will be. Each finding comes with a remedy; exit status\n"
      "0: none.");
  return [words] { return doctor(*words); };
}

}  // namespace kiln
