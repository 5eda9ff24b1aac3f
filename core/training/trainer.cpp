#include "core/training/trainer.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>

#include "core/base/stopwatch.h"
#include "core/report/activity.h"
#include "core/torch.h"

namespace kiln {
namespace {

std::int64_t peak_memory_bytes(at::Device device) {
  if (device.is_cuda()) {
    const auto stats = c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(device.index());
    return stats.reserved_bytes[0].peak;  // 0: over all pools
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

std::int64_t end_of(const TrainOptions& options, std::int64_t total_samples) {
  if (options.stop_after == 0) return total_samples;
  return std::min(total_samples, options.stop_after * options.global_batch);
}

}  // namespace

// ---- the loop -----------------------------------------------------------------------------------

ExitCode Trainer::run() {
  start();
  while (!is_last_step()) {
    const StepVote::Result agreed = agree();
    if (agreed.is_stop_requested) {
      save_in_time();
      return ExitCode::kStopped;
    }
    const std::vector<Batch> batches = take_batches(agreed);
    fetch_batches(samples_seen_ + parts_.recipe.train.global_batch);  // and vote on that step

    const StepContext now = context(samples_seen_);
    bool is_good = true;  // of a bad step, phases and statistics that would follow are left out
    for (PhaseWork& phase : phases_) phase.is_resting = true;
    for (std::size_t i = 0; i < phases_.size() && is_good; ++i) {
      is_good = train_phase(i, batches, now);
    }
    wait_for_snapshot();
    if (is_good) end_good_step(now);

    ++step_;
    samples_seen_ += parts_.recipe.train.global_batch;
    finish_step();
  }
  save_and_finish();
  return ExitCode::kDone;
}

void Trainer::finish_step() {
  report_step();
  if (is_last_step() || is_due(parts_.recipe.checkpoint.every)) save();
  if (parts_.hooks.evaluate && (is_last_step() || is_due(parts_.recipe.eval.every))) {
    set_activity(fmt::format("evaluate after step {}", step_));
    const auto began = Clock::now();
    parts_.hooks.evaluate(*this);          // while the checkpoint is being written
    last_report_ += Clock::now() - began;  // training's speed is what is reported
  }
}

// ---- batches ------------------------------------------------------------------------------------

void Trainer::start() {
  parts_.objective.module().train();
  initialise();
  last_report_ = Clock::now();
  last_reported_samples_ = samples_seen_;
  parts_.loader.start(samples_seen_);
  fetch_batches(samples_seen_);
}

// The denominators of a step must be known before its first backward, so its batches are fetched,
// and set out for the device, while the step before still has all its work to do.
void Trainer::fetch_batches(std::int64_t first_sample) {
  upcoming_.clear();
  if (first_sample < end_samples_) {
    const Stopwatch stopwatch(report_.data_wait_s);
    set_activity(fmt::format("wait for the data of samples {} and on", first_sample));
    if (wait_for_data()) upcoming_ = parts_.loader.next();
    arrivals_.begin(upcoming_);
  }
  vote_.cast(ballot());
}

// False when a signal came first: the vote then stops all ranks, and the data is not needed.
bool Trainer::wait_for_data() {
  while (!parts_.loader.is_ready_within(0.1)) {
    if (is_stop_requested()) return false;
  }
  return true;
}

std::vector<Batch> Trainer::take_batches(const StepVote::Result& agreed) {
  arrivals_.finish(upcoming_);
  for (Batch& batch : upcoming_) batch.denominators = agreed.denominators;
  return std::exchange(upcoming_, {});
}

// ---- construction, state ------------------------------------------------------------------------

Trainer::Trainer(Parts parts)
    : parts_(std::move(parts)),
      num_micro_batches_(parts_.recipe.train.global_batch / parts_.recipe.train.micro_batch),
      end_samples_(end_of(parts_.recipe.train, parts_.total_samples)),
      ema_(parts_.recipe.ema, parts_.recipe.train.global_batch),
      values_(parts_.objective.schedules(), parts_.recipe.schedules,
              {.total_samples = parts_.total_samples,
               .samples_per_epoch = parts_.loader.num_samples(),
               .global_batch = parts_.recipe.train.global_batch}),
      judge_(parts_.recipe.divergence),
      vote_(parts_.communicator),
      arrivals_(parts_.device) {
  add_phases();
}

void Trainer::add_phases() {
  const Recipe& recipe = parts_.recipe;
  Communicator& communicator = parts_.communicator;
  const bool is_sharded = recipe.parallel.shard_optimizer && communicator.size() > 1;
  const std::vector<Phase> phases = parts_.objective.phases();
  const std::vector<PhaseSettings> settings =
      phase_settings(recipe, phases, parts_.schedule.peak());
  const bool has_coupled = std::ranges::any_of(phases, &Phase::is_coupled);
  if ((phases.size() > 1 || has_coupled) && communicator.size() > num_micro_batches_) {
    throw usage_error(
        "{} ranks for {} micro-batches: a model with several phases, or with a loss over the whole "
        "batch, needs one for each rank; start fewer ranks or make train.micro_batch smaller",
        communicator.size(), num_micro_batches_);
  }
  std::vector<TrainingPhase*> trained;
  for (std::size_t i = 0; i < phases.size(); ++i) {
    const TrainingPhase::Options options{
        .optimizer = settings[i].optimizer,
        .clip_norm = settings[i].clip_norm,
        .clips_tensors = settings[i].clips_tensors,
        .has_ema = ema_.is_on() && phases[i].has_average,
        .is_sharded = is_sharded,
        .bucket_bytes = std::llround(recipe.parallel.bucket_mb * 0x1p20)};
    PhaseWork work{
        .settings = settings[i],
        .schedule = parts_.schedule.with_peak(settings[i].optimizer.lr.value()),
        .training = std::make_unique<TrainingPhase>(phases[i].name, parts_.objective.parameters(i),
                                                    options, parts_.make_exchange, communicator),
        .pass = nullptr,
        .coupled = nullptr,
        .table = MetricTable(communicator, num_micro_batches_),
        .sums = OrderedSums(communicator, num_micro_batches_)};
    GradientExchange& exchange = work.training->exchange();
    if (phases[i].is_coupled) {
      work.coupled = std::make_unique<CoupledPass>(parts_.objective, i, exchange, communicator,
                                                   device_communicator(), num_micro_batches_);
    } else {
      work.pass = std::make_unique<MicroBatchPass>(parts_.objective, i, exchange,
                                                   communicator.size() > 1, parts_.make_recorder);
    }
    trained.push_back(work.training.get());
    phases_.push_back(std::move(work));
  }
  averages_.emplace(parts_.objective.averages(), trained, is_sharded, device_communicator());
}

Trainer::~Trainer() = default;

void Trainer::resume(const CheckpointReader& checkpoint) {
  const ReadPiece read = [&](const std::string& name, Range elements) {
    return checkpoint.read(name, elements);
  };
  for (const PhaseWork& phase : phases_) {
    phase.training->load(read, /*weights_only=*/false);
    phase.training->load_counts(checkpoint.manifest().extra);
  }
  averages_->load(read);
  has_initial_weights_ = false;
  const at::NoGradGuard no_grad;
  for (Buffer& buffer : parts_.objective.buffers()) {
    buffer.tensor.copy_(checkpoint.read("buffer/" + buffer.name));
  }
  judge_.load(checkpoint.manifest().extra);
  step_ = checkpoint.step();
  samples_seen_ = checkpoint.samples_seen();
  saved_step_ = step_;
}

void Trainer::load_weights(const ReadPiece& read) {
  for (const PhaseWork& phase : phases_) phase.training->load(read, /*weights_only=*/true);
  averages_->copy_sources();
  has_initial_weights_ = false;
}

void Trainer::initialise() {
  if (!has_initial_weights_) return;
  has_initial_weights_ = false;
  if (!parts_.objective.is_initialised_from_data()) return;
  set_activity("initialise from data");
  std::vector<Batch> first = {parts_.loader.read(0, 0)};
  arrivals_.begin(first);
  arrivals_.finish(first);
  {
    const at::NoGradGuard no_grad;
    parts_.objective.initialise_from(first[0], context(0));
  }
  for (const PhaseWork& phase : phases_) phase.training->take_weights();
  averages_->copy_sources();
}

std::string Trainer::weights_hash() const {
  std::map<std::string, Digest> digests;
  for (const PhaseWork& phase : phases_) phase.training->add_digests(digests);
  return kiln::weights_hash(digests);
}

StepContext Trainer::context(std::int64_t samples_seen) const {
  return {.step = step_,
          .samples_seen = samples_seen,
          .total_samples = parts_.total_samples,
          .global_batch = parts_.recipe.train.global_batch,
          .seed = static_cast<std::uint64_t>(parts_.recipe.run.seed),
          .is_training = true,
          .values = values_.at(samples_seen)};
}

bool Trainer::is_due(std::int64_t every) const { return every > 0 && step_ % every == 0; }

void Trainer::with_average_weights(const std::function<void()>& body) {
  wait_for_snapshot();
  parts_.objective.module().eval();
  for (const PhaseWork& phase : phases_) {
    if (phase.training->has_average()) phase.training->swap_in_average();
  }
  body();
  for (const PhaseWork& phase : phases_) {
    if (phase.training->has_average()) phase.training->swap_out_average();
  }
  parts_.objective.module().train();
}

// ---- reports ------------------------------------------------------------------------------------

/// The first phase's values stand for the run where it rests, as they were.
void Trainer::report_phase(std::size_t index) {
  const PhaseWork& work = phases_[index];
  if (work.is_resting) return;
  const MetricTable::Result& sums = sums_of(index);
  const std::string prefix = index == 0 ? "" : work.settings.name + "/";
  if (index == 0) {
    report_.loss = sums.loss;
    report_.lr = work.lr;
    report_.grad_norm = work.grad_norm;
  } else {
    report_.metrics[prefix + "loss"] = sums.loss;
    report_.metrics[prefix + "lr"] = work.lr;
    report_.metrics[prefix + "grad_norm"] = work.grad_norm;
  }
  for (const auto& [name, value] : sums.metrics) report_.metrics[prefix + name] = value;
}

void Trainer::report_step() {
  if (step_ != 1 && !is_last_step() && !is_due(parts_.recipe.log.every)) return;
  report_.metrics = values_.at(samples_seen_ - parts_.recipe.train.global_batch);
  for (std::size_t i = 0; i < phases_.size(); ++i) report_phase(i);
  const double elapsed_s = std::chrono::duration<double>(Clock::now() - last_report_).count();
  report_.step = step_;
  report_.samples = samples_seen_;
  report_.samples_per_s = static_cast<double>(samples_seen_ - last_reported_samples_) / elapsed_s;
  report_.memory_bytes = peak_memory_bytes(parts_.device);
  if (parts_.hooks.report) parts_.hooks.report(report_);
  report_.data_wait_s = report_.comm_wait_s = 0.0;
  last_report_ = Clock::now();
  last_reported_samples_ = samples_seen_;
}

// ---- what ranks agree on ------------------------------------------------------------------------

bool Trainer::is_stop_requested() const {
  return parts_.hooks.is_stop_requested && parts_.hooks.is_stop_requested();
}

bool Trainer::is_short_of_time() const {
  const double grace_s = parts_.recipe.checkpoint.grace_s;
  if (grace_s <= 0 || !parts_.writer || !parts_.hooks.stop_age_s) return false;
  const CheckpointWriter::Cost cost = parts_.writer->cost();
  // A quarter on top: for the manifest, and for a disk that is slower this time.
  const double save_s = cost.begin_s + cost.snapshot_s + cost.write_s;
  return parts_.hooks.stop_age_s() + 1.25 * save_s > grace_s;
}

StepVote::Ballot Trainer::ballot() const {
  const CheckpointWriter* writer = parts_.writer;
  return {.step = step_,
          .is_stop_requested = is_stop_requested(),
          .has_saved = is_save_unsettled_ && writer->has_succeeded(),
          .has_failed_to_save = is_save_unsettled_ && writer->has_failed(),
          .is_short_of_time = is_short_of_time(),
          .denominators = sum_of_denominators(upcoming_)};
}

const StepVote::Result& Trainer::agree() {
  const bool is_new = vote_.is_outstanding();
  const Stopwatch stopwatch(report_.comm_wait_s);
  const StepVote::Result& agreed = vote_.result();
  if (is_new) settle_save(agreed);
  return agreed;
}

// Every ballot carries all a vote is about, so that a later vote may stand in for an earlier one.
bool Trainer::poll_stop() {
  agree();
  const StepVote::Result& agreed = vote_.poll(ballot());
  settle_save(agreed);
  return agreed.is_stop_requested;
}

}  // namespace kiln
