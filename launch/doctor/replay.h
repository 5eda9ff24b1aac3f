#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/run/result.h"

namespace kiln {

struct ReplayArgs {
  std::filesystem::path run;
  std::int64_t step = 0;          // counted from 1, as in metrics.jsonl
  std::int64_t micro_batch = -1;  // -1: all
  std::vector<std::string> overrides;
};

/// Repeats a step of a run on one process: from the nearest checkpoint before it, through the steps
/// in between, to its losses and gradients, and those twice. Nothing of the run is changed.
///
/// Different bits the second time: this machine is at fault. The same bits, and in reproducible
/// mode those that the run logged: the data or the recipe is. The same bits here, others in the
/// run: the machine that ran it is. JSON: the figures, the verdict, and the loss of every sample of
/// the chosen micro-batch or of those whose loss is not finite.
CommandResult replay(const ReplayArgs& args);

}  // namespace kiln
