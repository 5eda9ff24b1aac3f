#include "launch/bench/bench.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands/command.h"

namespace kiln {

std::function<CommandResult()> declare_bench(CLI::App& app) {
  auto args = std::make_shared<BenchArgs>();
  args->recipe = "configs/mae_tiny_fashion.toml";
  std::string kinds;
  for (const Bench& row : bench_table()) {
    kinds += (kinds.empty() ? "" : "; ") + row.name + ": " + row.summary;
  }
  app.add_option("what", args->what, kinds + ".")->required();
  app.add_option("recipe", args->recipe, "What to measure with; default the tiny autoencoder.");
  app.add_option("overrides", args->overrides, "section.key=value, over the recipe.");
  app.add_option("--repeats", args->repeats, "Measurements.")->check(CLI::Range(3, 100000));
  app.add_option("--np", args->ranks, "Ranks that recovery starts (default 2).")
      ->check(CLI::PositiveNumber);
  set_examples(
      app,
      "  kiln bench step configs/mae_base_imagenet.toml run.precision=bf16 --json\n"
      "  mpirun -np 4 kiln bench comm\n\n"
      "Figures are min, median and max of the repeats; \"ceiling\" is what the machine could\n"
      "do at best, measured in the same run.");
  return [args] { return bench(*args); };
}

}  // namespace kiln
