#pragma once

#include <string>
#include <vector>

#include "launch/run/result.h"
#include "launch/run/training_setup.h"
#include "launch/run/world.h"

namespace kiln {

/// Trains as the setup says, in the ranks this program was started as; resumes where the run folder
/// holds a checkpoint. Result: step, samples, loss, samples_per_s, weights_hash, run_dir.
CommandResult train(TrainingSetup setup);

/// The same within ranks that run already; afterwards the objective holds the final weights.
CommandResult train_in(World& world, TrainingSetup& setup);

/// What the setup resolves to and implies, for `--dry-run`: text, and JSON with the same figures.
struct DryRun {
  std::string text;
  nlohmann::ordered_json json;
};
DryRun describe(const TrainingSetup& setup);
/// Of one checkpoint of all ranks together.
std::int64_t checkpoint_bytes(const TrainingSetup& setup);

}  // namespace kiln
