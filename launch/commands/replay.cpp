#include "launch/doctor/replay.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands/command.h"

namespace kiln {

namespace {

void print(const nlohmann::json& result) {
  fmt::print("step {} from the checkpoint of step {}: loss {}, gradient 2-norm {}\n",
             result["step"].dump(), result["from_step"].dump(), result["loss"].dump(),
             result["grad_norm"].dump());
  for (const auto& line : result["micro_batches"]) {
    fmt::print("micro-batch {:4}  loss {:24}  gradient {}\n", line["micro_batch"].dump(),
               line["loss"].dump(), line["gradient_hash"].get<std::string>());
    for (const auto& sample : line.value("samples", nlohmann::json::array())) {
      fmt::print("  position {:9}  sample {:9}  loss {:24}  {}\n", sample["position"].dump(),
                 sample["sample"].dump(), sample["loss"].dump(),
                 sample["place"].get<std::string>());
    }
  }
  fmt::print("{}\n", result["verdict"].get<std::string>());
}

}  // namespace

std::function<CommandResult()> declare_replay(CLI::App& app) {
  auto args = std::make_shared<ReplayArgs>();
  app.add_option("run", args->run, "Run folder.")->required();
  app.add_option("--step", args->step, "Step to repeat, counted from 1 as in metrics.jsonl.")
      ->required()
      ->check(CLI::PositiveNumber);
  app.add_option("--micro-batch", args->micro_batch,
                 "Only this one, counted from 0, with the loss of each of its samples.")
      ->check(CLI::NonNegativeNumber);
  app.add_option("overrides", args->overrides, "section.key=value, over the run's recipe.");
  set_examples(
      app,
      "  kiln replay runs/mae --step 1234\n"
      "  kiln replay runs/mae --step 1234 --micro-batch 5 --json\n\n"
      "Goes on from the nearest checkpoint before the step, on one process, and does the step\n"
      "twice. Other bits the second time: bad hardware here. The run's own figures again, bit for\n"
      "bit in reproducible mode: a bad sample, which is named.");
  return [args] {
    const CommandResult result = replay(*args);
    print(result.json);
    return result;
  };
}

}  // namespace kiln
