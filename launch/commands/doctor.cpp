#include "launch/doctor/doctor.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands/command.h"

namespace kiln {

std::function<CommandResult()> declare_doctor(CLI::App& app) {
  auto args = std::make_shared<DoctorArgs>();
  app.add_option("recipe", args->recipe,
                 "Also checks what this recipe needs: datasets, run folder, room, GPUs.");
  app.add_option("overrides", args->overrides, "section.key=value, over the recipe.");
  set_examples(
      app,
      "  kiln doctor\n"
      "  mpirun -np 8 kiln doctor configs/mae_base_imagenet.toml\n"
      "  srun --mpi=pmix kiln doctor RECIPE\n\n"
      "Start it exactly as training will be. Each finding comes with a remedy; exit status\n"
      "0: none.");
  return [args] { return doctor(*args); };
}

}  // namespace kiln
