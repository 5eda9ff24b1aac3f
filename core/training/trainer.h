#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/checkpoint_reader.h"
#include "core/communicator.h"
#include "core/device/device_copies.h"
#include "core/loader.h"
#include "core/objective.h"
#include "core/recipe/recipe.h"
#include "core/report/step_report.h"
#include "core/schedule/ema.h"
#include "core/schedule/schedule.h"
#include "core/schedule/value_schedules.h"
#include "core/training/average_networks.h"
#include "core/training/coupled_pass.h"
#include "core/training/divergence.h"
#include "core/training/micro_batch_pass.h"
#include "core/training/ordered_sums.h"
#include "core/training/phase_settings.h"
#include "core/training/step_vote.h"
#include "core/training/training_phase.h"

namespace kiln {

class Trainer;

/// Called at the end of a step, on every rank in the same step. An empty function is skipped.
struct TrainerHooks {
  /// A signal asks for a stop, on this rank. Polled once a step and while waiting for data; once
  /// true it stays true.
  std::function<bool()> is_stop_requested = {};
  /// Seconds since that signal came; 0: none did. Asked when checkpoint.grace_s says how long there
  /// is to save.
  std::function<double()> stop_age_s = {};
  /// Every log.every steps, and for the first and last step.
  std::function<void(const StepReport&)> report = {};
  /// Every eval.every steps, and after the last.
  std::function<void(Trainer&)> evaluate = {};
  /// A step was judged bad; called before anything is done about it.
  std::function<void(const Divergence&)> diverged = {};
  /// Collective: the checkpoint that divergence.action = "rollback" goes back to.
  std::function<std::optional<CheckpointReader>()> checkpoint_to_return_to = {};
};

/// The training loop. Every rank makes one, with the same recipe, and calls run().
///
/// Invariants:
/// 1. Whatever decides what happens next (stop, commit of a checkpoint, divergence) comes from
///    reduced values, so all ranks take the same branch in the same step.
/// 2. Between two steps weights, moments, average and counts belong to the same step: that is when
///    checkpoints are taken.
/// 3. Nothing the loop computes depends on rank, time or thread.
///
/// Thread safety: one thread; it alone uses the communicator.
class Trainer {
 public:
  struct Parts {
    Recipe recipe;
    std::int64_t total_samples = 0;
    Schedule schedule;
    Objective& objective;
    Loader& loader;
    Communicator& communicator;                   // for host tensors
    Communicator* device_communicator = nullptr;  // for those of `device`; none: the same
    MakeExchange make_exchange;
    MakeRecorder make_recorder = {};     // none: every micro-batch runs plain
    CheckpointWriter* writer = nullptr;  // none: nothing is saved
    /// Identity, environment, recipe hash and dataset fingerprint of what is saved; the trainer
    /// fills in the rest.
    CheckpointState header;
    at::Device device = at::kCPU;
    TrainerHooks hooks;
  };
  explicit Trainer(Parts parts);
  ~Trainer();

  /// Goes on where the checkpoint was taken, on any number of ranks.
  void resume(const CheckpointReader& checkpoint);
  /// Takes weights alone, as run.init_from asks.
  void load_weights(const ReadPiece& read);
  /// Lets the objective set its weights from data (Objective::initialise_from), unless it wants
  /// none, or the weights are from elsewhere. run() does it first of all.
  void initialise();

  /// Trains to the end, to train.stop_after, or until a signal; saves. Returns kDone or kStopped.
  /// A step whose loss or gradient is bad updates nothing; what follows is divergence.action:
  /// Error(kDiverged) on every rank, naming micro-batches and positions, or the next step.
  ExitCode run();

  std::int64_t step() const { return step_; }  // steps done
  std::int64_t samples_seen() const { return samples_seen_; }
  /// Of the last step, reduced over all ranks where it was reported.
  double loss() const { return report_.loss; }
  /// Hex; DESIGN: xxh3-128 over the digests of the master weights. Collective when sharded.
  std::string weights_hash() const;
  Objective& objective() { return parts_.objective; }
  Communicator& communicator() { return parts_.communicator; }

  /// Runs `body` with the moving average in place of the weights, if the recipe keeps one, and in
  /// evaluation mode. Collective.
  void with_average_weights(const std::function<void()>& body);
  /// For long hooks: whether a signal asks any rank to stop. Collective.
  bool poll_stop();

 private:
  using Clock = std::chrono::steady_clock;

  /// One phase of the objective, and what a step does with it.
  struct PhaseWork {
    PhaseSettings settings;
    Schedule schedule;
    std::unique_ptr<TrainingPhase> training;
    std::unique_ptr<MicroBatchPass> pass;  // or
    std::unique_ptr<CoupledPass> coupled;
    MetricTable table;
    OrderedSums sums;
    // In this step:
    std::optional<MetricTable::Result> result = {};  // once reduced
    bool is_resting = true;
    double lr = 0.0;
    double grad_norm = 0.0;
  };

  void add_phases();
  void start();
  void fetch_batches(std::int64_t first_sample);
  bool wait_for_data();
  std::vector<Batch> take_batches(const StepVote::Result& agreed);
  bool train_phase(std::size_t index, const std::vector<Batch>& batches, const StepContext& now);
  bool add_gradients(std::size_t index, const std::vector<Batch>& batches, const StepContext& now);
  bool update(std::size_t index, const StepContext& now);
  void end_good_step(const StepContext& now);
  void finish_step();
  void report_step();
  void report_phase(std::size_t index);
  const MetricTable::Result& sums_of(std::size_t index);
  std::string judged_as(std::size_t index) const;
  bool has_diverged(std::size_t index);
  [[noreturn]] void throw_diverged(const Divergence& divergence);
  void roll_back(const Divergence& divergence);

  const StepVote::Result& agree();
  bool is_stop_requested() const;
  bool is_short_of_time() const;
  StepVote::Ballot ballot() const;
  void settle_save(const StepVote::Result& agreed);
  void save();
  void wait_for_snapshot();
  void finish_save();
  void save_and_finish();
  void save_in_time();

  StepContext context(std::int64_t samples_seen) const;
  Communicator& device_communicator() const {
    return parts_.device_communicator ? *parts_.device_communicator : parts_.communicator;
  }
  bool is_due(std::int64_t every) const;
  bool is_last_step() const { return samples_seen_ >= end_samples_; }

  Parts parts_;
  std::int64_t num_micro_batches_;
  std::int64_t end_samples_;  // where this call of run() ends
  EmaSchedule ema_;
  ValueSchedules values_;
  std::vector<PhaseWork> phases_;
  std::optional<AverageNetworks> averages_;
  DivergenceJudge judge_;
  StepVote vote_;

  std::int64_t step_ = 0;
  std::int64_t samples_seen_ = 0;
  std::int64_t saved_step_ = -1;
  bool has_initial_weights_ = true;  // neither resumed nor loaded
  std::vector<Batch> upcoming_;
  BatchArrivals arrivals_;  // of upcoming_
  bool is_save_unsettled_ = false;

  StepReport report_;
  Clock::time_point last_report_ = Clock::now();
  std::int64_t last_reported_samples_ = 0;
};

}  // namespace kiln
