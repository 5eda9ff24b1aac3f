#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/work.h"
#include "core/loader.h"
#include "core/objective.h"
#include "core/training/trainer.h"
#include "dist/gradient_exchange.h"
#include "dist/thread_communicator.h"

// The smallest thing that uses everything the engine offers: a two-layer network whose targets are
// partly missing, so that the loss has a denominator that differs between micro-batches.

namespace kiln::toy {

/// phases: 1, or 2 (the second trains the second layer, and rests in odd steps). A recordable one
/// (its first phase) keeps no statistics.
class Objective final : public kiln::Objective {
 public:
  explicit Objective(at::ScalarType precision = at::kFloat, int num_phases = 1);
  ~Objective() override;

  torch::nn::Module& module() override;
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Phase> phases() const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  bool is_recordable(std::size_t phase) const override { return has_recordable && phase == 0; }
  std::vector<Buffer> buffers() override;
  Sums sums(std::size_t phase) override;
  void after_step(const StepContext& context, const Sums& sums, const Rows& rows) override;

  /// The loss of this micro-batch is multiplied by broken_factor, in broken_step or (-1) in all.
  std::int64_t broken_micro_batch = -1;
  std::int64_t broken_step = -1;
  double broken_factor = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::int64_t> seen_steps;
  bool has_recordable = false;
  std::int64_t targets_per_sample = 0;  // that count; 0: differs from sample to sample

 private:
  struct Network;
  std::shared_ptr<Network> network_;
  at::ScalarType precision_;
  int num_phases_;
  at::Tensor usage_;       // buffer: moving sum of what was seen
  at::Tensor last_usage_;  // of the last micro-batch
};

/// Draws samples from their positions alone.
class Loader final : public kiln::Loader {
 public:
  Loader(const kiln::Objective& objective, std::int64_t global_batch, std::int64_t micro_batch,
         int rank, int ranks);
  void start(std::int64_t samples_seen) override { samples_seen_ = samples_seen; }
  std::vector<Batch> next() override;
  Batch read(std::int64_t samples_seen, std::int64_t micro_batch) override;
  bool is_ready_within(double wait_s) override;
  std::int64_t num_samples() const override { return 1000; }

  /// This step's data never comes (-1: all does).
  std::int64_t missing_step = -1;

 private:
  const kiln::Objective& objective_;
  std::int64_t global_batch_, micro_batch_;
  int rank_, ranks_;
  std::int64_t samples_seen_ = 0;
};

struct TrainingSetup {
  int ranks = 1;
  std::int64_t steps = 6;
  std::int64_t micro_batches = 4;
  at::ScalarType precision = at::kFloat;
  int num_phases = 1;
  bool is_sharded = false;
  bool is_reproducible = false;
  std::string optimizer = "adamw";
  double clip_norm = 0.5;
  double ema_decay = 0.0;
  double bucket_mb = 0.0625;
  std::int64_t stop_after = 0;
  std::filesystem::path run_dir;  // empty: nothing is saved
  std::int64_t save_every = 0;
  std::int64_t keep = 3;
  bool saves_async = true;
  bool resumes = false;
  std::int64_t broken_micro_batch = -1;
  std::int64_t broken_step = -1;
  double broken_factor = std::numeric_limits<double>::quiet_NaN();
  DivergenceOptions divergence;
  double grace_s = 0.0;
  std::function<double()> stop_age_s;
  /// Asked on every rank once a step.
  std::function<bool(int rank, std::int64_t step)> is_stop_requested;
  std::function<void(Trainer&)> evaluate;
  std::int64_t missing_step = -1;  // of rank 0: its data never comes
  bool has_recordable = false;
  std::int64_t targets_per_sample = 0;
  MakeRecorder make_recorder;
  /// In place of Objective; called once for each rank.
  std::function<std::unique_ptr<kiln::Objective>()> make_objective;
  /// The last word on the recipe.
  std::function<void(Recipe&)> change_recipe;
  /// With its trainer and objective, before a rank ends.
  std::function<void(Trainer&, int rank)> finished;
};

struct Outcome {
  std::vector<double> losses;  // by step; -1: not finite
  std::vector<Divergence> divergences;
  std::vector<StepReport> reports;
  std::string weights_hash;
  std::map<std::string, at::Tensor> buffers;  // saved_buffers() at the end
  std::map<std::string, at::Tensor> weights;  // in the model's precision
  ExitCode code = ExitCode::kInternal;
  std::int64_t step = 0;
};

/// Trains as `setup.ranks` threads and returns what rank 0 saw, after checking that all ranks have
/// the same weights and buffers. Rethrows the first rank's exception.
Outcome train(const TrainingSetup& setup);
/// One rank's part, with any communicator.
Outcome train_rank(const TrainingSetup& setup, Communicator& communicator,
                   std::int64_t attempt = 0);

}  // namespace kiln::toy
