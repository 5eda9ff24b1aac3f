#include <cmath>

#include "core/base/error.h"
#include "core/base/stopwatch.h"
#include "core/report/activity.h"
#include "core/torch.h"
#include "core/training/trainer.h"

// What the trainer does with each phase of a step: gradients, judgement, update. The same on all
// ranks.

namespace kiln {
namespace {

void add_all(const std::map<std::string, at::Tensor>& from,
             std::map<std::string, at::Tensor>& into) {
  for (const auto& [name, tensor] : from) {
    KILN_CHECK(into.emplace(name, tensor).second, "two phases have sums or rows '{}'", name);
  }
}

}  // namespace

/// False: the step was judged bad and has changed nothing.
bool Trainer::train_phase(std::size_t index, const std::vector<Batch>& batches,
                          const StepContext& now) {
  set_activity(fmt::format("compute step {}", step_ + 1));
  PhaseWork& work = phases_[index];
  if (phases_.size() > 1) {
    for (const PhaseWork& other : phases_) {
      other.training->flat().require_gradients(&other == &work);
    }
  }
  work.table.begin_step();
  work.sums.begin_step();
  work.result.reset();
  // On all ranks or on none.
  work.is_resting = parts_.objective.rests(now, index) || !add_gradients(index, batches, now);
  if (work.is_resting) return true;
  work.table.end_step();
  {
    const Stopwatch stopwatch(report_.comm_wait_s);
    set_activity(fmt::format("exchange gradients of step {}", step_ + 1));
    work.training->exchange().finish();
  }
  return update(index, now);
}

/// False: the phase rests.
bool Trainer::add_gradients(std::size_t index, const std::vector<Batch>& batches,
                            const StepContext& now) {
  PhaseWork& work = phases_[index];
  if (work.coupled) {
    work.table.set_whole(work.coupled->run(batches, now, work.sums));
    return true;
  }
  if (batches.empty()) work.training->exchange().begin_step();  // more ranks than micro-batches
  for (const Batch& batch : batches) {
    const std::optional<Loss> loss = work.pass->run(
        batch, now, {.is_first = &batch == &batches.front(), .is_last = &batch == &batches.back()});
    if (!loss) return false;
    work.table.add(batch.micro_batch, *loss);
    work.sums.add(batch.micro_batch, parts_.objective.sums(index));
  }
  return true;
}

bool Trainer::update(std::size_t index, const StepContext& now) {
  PhaseWork& work = phases_[index];
  TrainingPhase& training = *work.training;
  work.lr = work.schedule.at(samples_seen_);
  work.grad_norm = training.gradient_norm();
  if (has_diverged(index)) return false;
  wait_for_snapshot();
  for (std::size_t later = index + 1; later < phases_.size(); ++later) {
    if (parts_.objective.rests(now, later)) continue;
    training.keep();  // the later one may turn out bad
    break;
  }
  TrainingPhase::Update update{.norm = work.grad_norm,
                               .lr = work.lr,
                               .ema_decay = ema_.decay(training.num_updates() + 1, samples_seen_),
                               .samples_seen = samples_seen_};
  const auto decay = now.values.find(kWeightDecay);
  if (decay != now.values.end() && !work.settings.has_own_decay)
    update.weight_decay = decay->second;
  training.update(update);
  return true;
}

void Trainer::end_good_step(const StepContext& now) {
  Sums sums;
  Rows rows;
  std::vector<bool> updated;
  for (std::size_t i = 0; i < phases_.size(); ++i) {
    PhaseWork& work = phases_[i];
    updated.push_back(!work.is_resting);
    if (work.is_resting) continue;
    judge_.accept(judged_as(i), judge_.needs_loss() ? sums_of(i).loss : 0.0, work.grad_norm);
    const bool is_idle = work.sums.is_empty();  // more ranks than micro-batches
    add_all(work.sums.reduce(is_idle ? parts_.objective.sums(i) : Sums{}), sums);
    if (work.coupled) add_all(work.coupled->rows(), rows);
  }
  judge_.end_good_step();
  parts_.objective.after_step(now, sums, rows);
  const std::int64_t batch = parts_.recipe.train.global_batch;
  averages_->update(updated, now.values, values_.at(samples_seen_ + batch));
}

}  // namespace kiln
