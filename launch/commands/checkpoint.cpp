#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "core/base/launcher_rank.h"
#include "core/checkpoint/checkpoint_tools.h"
#include "core/report/progress_bar.h"
#include "launch/commands/command.h"

namespace kiln {

namespace {

bool is_speaking() { return launcher_rank().rank == 0; }

void print(const std::vector<CheckpointSummary>& summaries) {
  for (const CheckpointSummary& summary : summaries) {
    const std::string name = summary.folder.filename().string();
    if (!summary.problem.empty()) {
      fmt::print("{}  DAMAGED: {}\n", name, summary.problem);
      continue;
    }
    fmt::print("{}  step {:>9}  samples {:>13}  {:>9}  written by {} rank{}\n", name,
               format_count(summary.step), format_count(summary.samples_seen),
               format_bytes(static_cast<double>(summary.num_bytes)), summary.ranks,
               summary.ranks == 1 ? "" : "s");
  }
}

CommandResult run_list(const std::string& path) {
  const auto summaries = list_checkpoints(path);
  if (is_speaking()) print(summaries);
  return {ExitCode::kDone, to_json(summaries)};
}

CommandResult run_verify(const std::string& path) {
  const auto summaries = verify_checkpoints(path);
  if (is_speaking()) print(summaries);
  for (const CheckpointSummary& summary : summaries) {
    if (!summary.problem.empty()) {
      throw checkpoint_error("{}: {}", summary.folder.string(), summary.problem);
    }
  }
  return {ExitCode::kDone, to_json(summaries)};
}

CommandResult run_inspect(const std::string& path) {
  const CheckpointInspection inspection = inspect_checkpoint(path);
  if (is_speaking()) {
    print({inspection.summary});
    fmt::print("weights_hash {}\n", inspection.weights_hash);
    for (const TensorSummary& tensor : inspection.tensors) {
      fmt::print(
          "{:60} {:5} [{}]  mean {:.3e}  rms {:.3e}  range [{:.3e}, {:.3e}]{}\n", tensor.name,
          tensor.stored.dtype, fmt::join(tensor.stored.shape, ", "), tensor.mean, tensor.rms,
          tensor.min, tensor.max,
          tensor.num_not_finite ? fmt::format("  {} NOT FINITE", tensor.num_not_finite) : "");
    }
  }
  return {ExitCode::kDone, to_json(inspection)};
}

CommandResult run_diff(const std::string& first, const std::string& second) {
  const CheckpointDiff diff = diff_checkpoints(first, second);
  if (is_speaking()) {
    for (const auto* differences : {&diff.keys, &diff.tensors}) {
      for (const Difference& difference : *differences) {
        fmt::print("{:60} {}\n", difference.name, difference.what);
      }
    }
    if (diff.tensors.empty()) fmt::print("all tensors are equal, bit for bit\n");
  }
  return {ExitCode::kDone, to_json(diff)};
}

CommandResult run_hash(const std::string& path) {
  const CheckpointHash hash = hash_checkpoint(path);
  if (is_speaking()) fmt::print("{}  {}\n", hash.weights_hash, hash.folder.string());
  return {ExitCode::kDone, to_json(hash)};
}

}  // namespace

std::function<CommandResult()> declare_checkpoint(CLI::App& app) {
  app.require_subcommand(1);
  struct Args {
    std::string path, second;
  };
  auto args = std::make_shared<Args>();
  struct Action {
    const char* name;
    const char* summary;
    CommandResult (*run)(const std::string&);
  };
  const std::vector<Action> actions = {
      {"list", "The checkpoints of a run, newest first.", run_list},
      {"verify", "Reads every byte and compares it with its hash; 4 when one differs.", run_verify},
      {"inspect", "Every tensor with its type, shape and statistics.", run_inspect},
      {"hash", "The hash of the master weights: equal for equal bits.", run_hash}};
  std::vector<std::pair<CLI::App*, CommandResult (*)(const std::string&)>> declared;
  for (const Action& action : actions) {
    CLI::App* sub = app.add_subcommand(action.name, action.summary);
    sub->add_option("path", args->path, "Run folder, or one checkpoint's.")->required();
    declared.emplace_back(sub, action.run);
  }
  CLI::App* diff = app.add_subcommand("diff", "How two checkpoints differ, tensor by tensor.");
  diff->add_option("first", args->path, "Run folder, or one checkpoint's.")->required();
  diff->add_option("second", args->second, "The same.")->required();
  return [=] {
    for (const auto& [sub, run] : declared) {
      if (sub->parsed()) return run(args->path);
    }
    return run_diff(args->path, args->second);
  };
}

}  // namespace kiln
