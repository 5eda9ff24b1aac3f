#include <cmath>

#include "core/torch.h"
#include "core/training/trainer.h"

// What the trainer does about a loss or gradient that went wrong. Everything here is decided from
// reduced values: all ranks take the same branch.

namespace kiln {

const MetricTable::Result& Trainer::sums_of(std::size_t index) {
  if (!results_[index]) results_[index] = tables_[index].reduce();
  return *results_[index];
}

/// True: the step must not be taken, and what the recipe wants instead is done.
bool Trainer::has_diverged(std::size_t index, double norm) {
  const bool is_first = index == 0;
  const double loss = judge_.needs_loss() || !std::isfinite(norm) ? sums_of(index).loss : 0.0;
  const std::string reason = judge_.verdict(loss, norm, is_first);
  if (reason.empty()) {
    if (is_first) judge_.accept(loss, norm);
    return false;
  }
  Divergence divergence{.step = step_ + 1,
                        .phase = phases_[index]->name(),
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
