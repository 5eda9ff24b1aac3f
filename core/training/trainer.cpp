#include "core/training/trainer.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>

#include "core/report/activity.h"
#include "core/torch.h"

namespace kiln {
namespace {

class Stopwatch {
 public:
  explicit Stopwatch(double& total) : total_(total) {}
  ~Stopwatch() {
    total_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  double& total_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

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

    bool is_good = true;  // of a bad step, phases and statistics that would follow are left out
    is_resting_.assign(phases_.size(), true);
    for (std::size_t i = 0; i < phases_.size() && is_good; ++i) is_good = train_phase(i, batches);
    wait_for_snapshot();
    if (is_good) parts_.objective.after_step(context(), sums_.reduce(parts_.objective.sums(0)), {});

    ++step_;
    samples_seen_ += parts_.recipe.train.global_batch;
    finish_step();
  }
  save_and_finish();
  return ExitCode::kDone;
}

/// False: the step was judged bad and has changed nothing.
bool Trainer::train_phase(std::size_t index, const std::vector<Batch>& batches) {
  set_activity(fmt::format("compute step {}", step_ + 1));
  GradientExchange& exchange = phases_[index]->exchange();
  if (phases_.size() > 1) {
    for (const auto& phase : phases_) phase->flat().require_gradients(phase == phases_[index]);
  }
  is_resting_[index] = false;
  tables_[index].begin_step();
  results_[index].reset();
  if (batches.empty()) exchange.begin_step();  // more ranks than micro-batches
  for (const Batch& batch : batches) {
    const std::optional<Loss> loss = passes_[index]->run(
        batch, context(),
        {.is_first = &batch == &batches.front(), .is_last = &batch == &batches.back()});
    is_resting_[index] = !loss;  // on all ranks or on none
    if (!loss) return true;
    tables_[index].add(batch.micro_batch, *loss);
    if (index == 0) sums_.add(batch.micro_batch, parts_.objective.sums(0));
  }
  tables_[index].end_step();
  {
    const Stopwatch stopwatch(report_.comm_wait_s);
    set_activity(fmt::format("exchange gradients of step {}", step_ + 1));
    exchange.finish();
  }
  return update(index);
}

bool Trainer::update(std::size_t index) {
  TrainingPhase& phase = *phases_[index];
  const double lr = parts_.schedule.at(samples_seen_);
  const double norm = phase.gradient_norm();
  if (index == 0) {
    report_.lr = lr;
    report_.grad_norm = norm;
  }
  if (has_diverged(index, norm)) return false;
  wait_for_snapshot();
  phase.update(norm, lr, ema_.decay(phase.num_updates() + 1, samples_seen_));
  return true;
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
      judge_(parts_.recipe.divergence),
      sums_(parts_.communicator, num_micro_batches_),
      vote_(parts_.communicator),
      arrivals_(parts_.device) {
  const Recipe& recipe = parts_.recipe;
  TrainingPhase::Options options;
  options.optimizer = recipe.optimizer;
  options.clip_norm = recipe.train.clip_norm;
  options.has_ema = ema_.is_on();
  options.is_sharded = recipe.parallel.shard_optimizer && parts_.communicator.size() > 1;
  options.bucket_bytes = std::llround(recipe.parallel.bucket_mb * 0x1p20);
  const std::vector<Phase> phases = parts_.objective.phases();
  if (phases.size() > 1 && parts_.communicator.size() > num_micro_batches_) {
    throw usage_error(
        "{} ranks for {} micro-batches: a model with several phases needs one for each rank; start "
        "fewer ranks or make train.micro_batch smaller",
        parts_.communicator.size(), num_micro_batches_);
  }
  for (std::size_t i = 0; i < phases.size(); ++i) {
    phases_.push_back(std::make_unique<TrainingPhase>(phases[i].name,
                                                      parts_.objective.parameters(i), options,
                                                      parts_.make_exchange, parts_.communicator));
    passes_.push_back(
        std::make_unique<MicroBatchPass>(parts_.objective, i, phases_.back()->exchange(),
                                         parts_.communicator.size() > 1, parts_.make_recorder));
    tables_.emplace_back(parts_.communicator, num_micro_batches_);
  }
  results_.resize(phases_.size());
}

Trainer::~Trainer() = default;

void Trainer::resume(const CheckpointReader& checkpoint) {
  const ReadPiece read = [&](const std::string& name, Range elements) {
    return checkpoint.read(name, elements);
  };
  for (const auto& phase : phases_) {
    phase->load(read, /*weights_only=*/false);
    phase->set_num_updates(checkpoint.manifest().extra.at("updates/" + phase->name()));
  }
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
  for (const auto& phase : phases_) phase->load(read, /*weights_only=*/true);
}

std::string Trainer::weights_hash() const {
  std::map<std::string, Digest> digests;
  for (const auto& phase : phases_) phase->add_digests(digests);
  return kiln::weights_hash(digests);
}

StepContext Trainer::context() const {
  return {.step = step_,
          .samples_seen = samples_seen_,
          .total_samples = parts_.total_samples,
          .global_batch = parts_.recipe.train.global_batch,
          .seed = static_cast<std::uint64_t>(parts_.recipe.run.seed)};
}

bool Trainer::is_due(std::int64_t every) const { return every > 0 && step_ % every == 0; }

void Trainer::with_average_weights(const std::function<void()>& body) {
  wait_for_snapshot();
  parts_.objective.module().eval();
  for (const auto& phase : phases_) {
    if (phase->has_average()) phase->swap_in_average();
  }
  body();
  for (const auto& phase : phases_) {
    if (phase->has_average()) phase->swap_out_average();
  }
  parts_.objective.module().train();
}

// ---- reports ------------------------------------------------------------------------------------

void Trainer::report_step() {
  if (step_ != 1 && !is_last_step() && !is_due(parts_.recipe.log.every)) return;
  report_.metrics.clear();
  for (std::size_t i = 0; i < phases_.size(); ++i) {
    if (is_resting_[i]) continue;
    const MetricTable::Result& sums = sums_of(i);
    if (i == 0) report_.loss = sums.loss;
    const std::string prefix = i == 0 ? "" : phases_[i]->name() + "/";
    if (i > 0) report_.metrics[prefix + "loss"] = sums.loss;
    for (const auto& [name, value] : sums.metrics) report_.metrics[prefix + name] = value;
  }
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
