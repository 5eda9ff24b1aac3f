#pragma once

#include <string>
#include <vector>

#include "launch/command.h"
#include "launch/training_setup.h"

namespace kiln {

/// Trains as the setup says, in the ranks this program was started as; resumes where the run folder
/// holds a checkpoint. Result: step, samples, loss, samples_per_s, weights_hash, run_dir.
CommandResult train(TrainingSetup setup);

/// What the setup resolves to and implies, for `--dry-run`: text, and JSON with the same figures.
struct DryRun {
  std::string text;
  nlohmann::ordered_json json;
};
DryRun describe(const TrainingSetup& setup);

}  // namespace kiln
