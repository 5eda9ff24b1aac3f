#include "launch/train/train.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "core/base/launcher_rank.h"
#include "launch/commands/command.h"
#include "models/registry.h"

namespace kiln {

namespace {

std::string models_text() {
  std::string text = "\nModels (model.name):\n";
  for (const ModelEntry& model : model_table()) {
    text += fmt::format("  {:20} {}\n", model.name, model.summary);
  }
  return text;
}

}  // namespace

std::function<CommandResult()> declare_train(CLI::App& app) {
  struct TrainArgs {
    std::string recipe;
    std::vector<std::string> overrides;
    bool is_dry_run = false;
  };
  auto args = std::make_shared<TrainArgs>();
  app.add_option("recipe", args->recipe, "Recipe (TOML); configs/ has examples.")->required();
  app.add_option("overrides", args->overrides, "section.key=value, over what the recipe says.");
  app.add_flag("--dry-run", args->is_dry_run,
               "Prints the resolved recipe, every key explained, and what it implies.");
  set_examples(
      app,
      "  kiln train configs/mae_tiny_fashion.toml --dry-run\n"
      "  mpirun -np 2 kiln train configs/mae_tiny_fashion.toml train.epochs=8 run.seed=1\n"
      "  kiln train RECIPE run.init_from=runs/other      weights of another run\n\n"
      "The same command goes on where the run folder's newest valid checkpoint was taken, on\n"
      "any number of ranks. SIGTERM or SIGUSR1 to a rank, or SIGUSR1 to mpirun, saves and ends\n"
      "with 75.\n" +
          models_text());
  return [args] {
    TrainingSetup setup =
        read_training_setup(RecipeReader::from_file(args->recipe, args->overrides));
    if (!args->is_dry_run) return train(std::move(setup));
    const DryRun dry_run = describe(setup);
    if (launcher_rank().rank == 0) fmt::print("{}", dry_run.text);
    return CommandResult{ExitCode::kDone, dry_run.json};
  };
}

}  // namespace kiln
