#pragma once

#include <functional>
#include <memory>

#include "core/communicator.h"
#include "core/loader.h"
#include "core/training/trainer.h"
#include "core/training/training_phase.h"
#include "launch/run/training_setup.h"
#include "launch/run/world.h"

// What training, replay and the benchmarks make the same way.

namespace kiln {

/// Compute threads as run.threads says. Always called: LibTorch's own choice depends on the
/// launcher, and the number of threads has a say in the bits.
void use_threads(const Recipe& recipe, World& world);

/// Yields this rank's micro-batches, for a GPU in pinned memory; `setup` must outlive it.
std::unique_ptr<Loader> make_loader(const TrainingSetup& setup, World& world, at::Device device);

MakeExchange make_exchange(const TrainingSetup& setup, Communicator& communicator);

/// A trainer and what it stands on.
struct MadeTrainer {
  std::unique_ptr<Communicator> gpus;  // of gradients on several GPUs; else the ranks' own serves
  std::unique_ptr<Loader> loader;
  std::unique_ptr<Trainer> trainer;
};

/// What a command adds to a trainer.
struct TrainerExtras {
  CheckpointWriter* writer = nullptr;  // null: nothing is saved
  CheckpointState header = {};
  TrainerHooks hooks = {};
  /// Puts something around the loader (a ledger); empty: nothing.
  std::function<std::unique_ptr<Loader>(std::unique_ptr<Loader>)> wrap_loader = {};
};

/// The trainer of setup.recipe, its objective moved to `device`. Collective; `setup` and `world` must
/// outlive it.
MadeTrainer make_trainer(const TrainingSetup& setup, World& world, at::Device device,
                         TrainerExtras extras);

}  // namespace kiln
