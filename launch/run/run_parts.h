#pragma once

#include <memory>

#include "core/communicator.h"
#include "core/device/recorder.h"
#include "core/loader.h"
#include "core/training/training_phase.h"
#include "launch/run/training_setup.h"
#include "launch/run/world.h"

// Parts that training and the benchmarks make the same way.

namespace kiln {

/// Compute threads as run.threads says. Always called: LibTorch's own choice depends on the
/// launcher, and the number of threads has a say in the bits.
void use_threads(const Recipe& recipe, World& world);

/// Yields this rank's micro-batches, for a GPU in pinned memory; `setup` must outlive it.
std::unique_ptr<Loader> make_loader(const TrainingSetup& setup, World& world, at::Device device);

MakeExchange make_exchange(const TrainingSetup& setup, Communicator& communicator);

/// As run.cuda_graph asks; empty, with a warning, where there would be nothing to replay.
MakeRecorder make_recorder(const TrainingSetup& setup, World& world, at::Device device);

}  // namespace kiln
