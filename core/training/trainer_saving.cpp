#include <chrono>
#include <thread>

#include "core/on_all_ranks.h"
#include "core/report/activity.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "core/training/trainer.h"

// When the trainer saves, and how ranks agree that a checkpoint is whole. Everything here is called
// by all ranks in the same step.

namespace kiln {

void Trainer::settle_save(const StepVote::Result& agreed) {
  const int done = agreed.num_saved + agreed.num_failed_to_save;
  if (!is_save_unsettled_ || done < parts_.communicator.size()) return;
  is_save_unsettled_ = false;
  if (agreed.num_failed_to_save == 0) return parts_.writer->commit();
  parts_.writer->abandon();
  saved_step_ = -1;
}

void Trainer::save() {
  if (!parts_.writer || saved_step_ == step_) return;
  finish_save();
  set_activity(fmt::format("save step {}", step_));
  CheckpointState state = parts_.header;
  state.step = step_;
  state.samples_seen = samples_seen_;
  judge_.save(state.extra);
  for (const PhaseWork& phase : phases_) phase.training->add_pieces(state);
  averages_->add_pieces(state);
  if (parts_.communicator.rank() == 0) {
    for (const Buffer& buffer : parts_.objective.buffers()) {
      const at::Tensor flat = buffer.tensor.detach().contiguous().view({-1});
      state.weights.push_back(
          {"buffer/" + buffer.name, buffer.tensor.sizes().vec(), {0, flat.numel()}, flat});
    }
  }
  parts_.writer->begin(state);
  saved_step_ = step_;
  is_save_unsettled_ = true;
}

/// Weights and optimizer state must not change before.
void Trainer::wait_for_snapshot() {
  if (is_save_unsettled_) parts_.writer->wait_for_snapshot();
}

// Until the save under way is committed or abandoned. A vote that was cast before a save began must
// not be taken for one about it, hence agree() first.
void Trainer::finish_save() {
  agree();
  while (is_save_unsettled_) {
    poll_stop();
    if (is_save_unsettled_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

/// After a signal: where ranks would be killed in the middle of another save, the newest checkpoint
/// is what the run goes on from.
void Trainer::save_in_time() {
  finish_save();
  const bool has_checkpoint = saved_step_ >= 0;
  if (has_checkpoint && saved_step_ != step_ && vote_.poll(ballot()).is_short_of_time) {
    log_warning(
        "no time for another save within checkpoint.grace_s = {} s: {} steps since step {} "
        "will be done again",
        parts_.recipe.checkpoint.grace_s, step_ - saved_step_, saved_step_);
    saved_step_ = step_;
  }
  save_and_finish();
}

void Trainer::save_and_finish() {
  save();
  finish_save();
  if (!parts_.writer) return;
  run_on_all_ranks(parts_.communicator, [&] {
    parts_.writer->wait();
    const std::string failure = parts_.writer->failure();
    if (!failure.empty()) {
      throw checkpoint_error("the last checkpoint, of step {}, was not saved: {}", step_, failure);
    }
  });
}

}  // namespace kiln
