#include <cmath>

#include "core/torch.h"
#include "core/training/trainer.h"

// What the trainer does about a loss or gradient that went wrong. Everything here is decided from
// reduced values: all ranks take the same branch.

namespace kiln {

const MetricTable::Result& Trainer::sums_of(std::size_t index) {
  PhaseWork& work = phases_[index];
  if (!work.result) work.result = work.table.reduce();
  return *work.result;
}

std::string Trainer::judged_as(std::size_t index) const {
  return index == 0 ? "" : phases_[index].settings.name;
}

/// True: the step must not be taken: what earlier phases of it have done is undone, and what the
/// recipe wants instead is done.
bool Trainer::has_diverged(std::size_t index) {
  const double norm = phases_[index].grad_norm;
  const double loss = judge_.needs_loss() || !std::isfinite(norm) ? sums_of(index).loss : 0.0;
  const std::string reason = judge_.verdict(judged_as(index), loss, norm);
  if (reason.empty()) return false;
  wait_for_snapshot();
  for (std::size_t i = 0; i < index; ++i) {
    if (!phases_[i].is_resting) phases_[i].training->undo();
  }
  Divergence divergence{.step = step_ + 1,
                        .phase = phases_[index].settings.name,
                        .reason = reason,
                        .action = parts_.recipe.divergence.action,
                        .loss = sums_of(index).loss,
                        .grad_norm = norm,
                        .first_position = samples_seen_,
                        .micro_batch = parts_.recipe.train.micro_batch,
                        .losses = sums_of(index).losses};
  find_suspects(divergence);
  if (!judge_.tolerate()) divergence.action = "stop";
  if (parts_.hooks.diverged) parts_.hooks.diverged(divergence);
  if (divergence.action == "stop") throw_diverged(divergence);
  if (divergence.action == "rollback") roll_back(divergence);
  return true;
}

void Trainer::throw_diverged(const Divergence& divergence) {
  finish_save();
  const bool is_given_up = parts_.recipe.divergence.action != "stop";
  throw Error(
      ExitCode::kDiverged,
      fmt::format("{}. Nothing was updated. {}", divergence.describe(),
                  is_given_up
                      ? fmt::format("It is the {}th bad step, more than divergence.limit allows",
                                    parts_.recipe.divergence.limit + 1)
                      : "Look at the step with 'kiln replay', lower optimizer.lr, lengthen the "
                        "warm-up, set train.clip_norm, or go on from the last checkpoint with "
                        "divergence.action=skip"));
}

/// Weights and optimizer go back, positions do not: the samples in between are left out, and the
/// loader need not seek.
void Trainer::roll_back(const Divergence& divergence) {
  finish_save();
  if (parts_.writer) parts_.writer->wait();
  const auto checkpoint = parts_.hooks.checkpoint_to_return_to
                              ? parts_.hooks.checkpoint_to_return_to()
                              : std::optional<CheckpointReader>();
  if (!checkpoint) {
    throw Error(ExitCode::kDiverged,
                fmt::format("{}. There is no checkpoint to roll back to: make checkpoint.every "
                            "smaller",
                            divergence.describe()));
  }
  const DivergenceJudge judge = judge_;
  const std::int64_t step = step_, samples_seen = samples_seen_;
  resume(*checkpoint);
  judge_ = judge;
  step_ = step;
  samples_seen_ = samples_seen;
  saved_step_ = -1;
}

}  // namespace kiln
