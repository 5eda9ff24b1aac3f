#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/device/recorder.h"
#include "core/gradient_exchange.h"
#include "core/objective.h"

namespace kiln {

/// Forward and backward of one micro-batch of one phase, and what the exchange is told about it.
///
/// Plain: operator by operator. Replayed: with a recorder, where the objective says that its loss
/// can be recorded. The first micro-batches are rehearsals, plain on the recorder's stream; the
/// next is recorded; whatever then equals the recorded one in everything but the values of its
/// tensors is copied into the tensors of the recording and replayed. Everything else runs plain.
///
/// Gradients are accumulated in the same memory either way, so plain and replayed micro-batches
/// may follow each other in a step. Hooks do not fire in a replay: the exchange takes the buckets
/// when the micro-batch ends. With several ranks the last micro-batch of a step always runs plain,
/// so that its buckets are sent while backward goes on.
///
/// Thread safety: one thread.
class MicroBatchPass {
 public:
  /// Rehearsals before the recording.
  static constexpr int kRehearsals = 3;

  /// `objective` and `exchange` must outlive it.
  MicroBatchPass(Objective& objective, std::size_t phase, GradientExchange& exchange,
                 bool has_peers, const MakeRecorder& make_recorder);
  MicroBatchPass(const MicroBatchPass&) = delete;
  MicroBatchPass& operator=(const MicroBatchPass&) = delete;

  /// Among the micro-batches of this rank in a step.
  struct Place {
    bool is_first = false;
    bool is_last = false;
  };
  /// Adds the gradient of `batch`. nullopt: the phase rests in this step, the exchange was told
  /// nothing.
  std::optional<Loss> run(const Batch& batch, const StepContext& context, Place place);
  std::int64_t num_replays() const { return num_replays_; }

 private:
  std::optional<Loss> run_plain(const Batch& batch, const StepContext& context, Place place);
  std::optional<Loss> rehearse(const Batch& batch, const StepContext& context, Place place);
  void record(const Batch& batch, const StepContext& context);
  Loss replay(const Batch& batch, Place place);
  void tell_once(const std::string& difference);

  Objective& objective_;
  const std::size_t phase_;
  GradientExchange& exchange_;
  const bool has_peers_;
  std::unique_ptr<Recorder> recorder_;  // null: everything runs plain

  Batch recorded_;  // before it is: the one being rehearsed
  Loss output_;     // of the last replay
  int num_rehearsals_ = 0;
  std::int64_t num_replays_ = 0;
  bool is_recorded_ = false;
  bool has_told_ = false;
};

}  // namespace kiln
