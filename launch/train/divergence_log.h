#pragma once

#include <filesystem>

#include "core/training/divergence.h"
#include "launch/run/training_setup.h"

namespace kiln {

/// Writes down a bad step: a warning in the log, and a line of RUN/divergences.jsonl with its
/// reason, what was done, the loss of every micro-batch, and for the suspected ones the sample
/// numbers and where they lie on disk.
void log_divergence(const Divergence& divergence, const TrainingSetup& setup,
                    const std::filesystem::path& run_folder);

}  // namespace kiln
