#include "core/training/micro_batch_pass.h"

#include "core/base/error.h"
#include "core/optimizer/flat_backward.h"
#include "core/report/log.h"
#include "core/torch.h"

namespace kiln {
namespace {

std::string described(const at::Tensor& tensor) {
  return c10::str(tensor.scalar_type(), " ", tensor.sizes(), " on ", tensor.device());
}

bool are_alike(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && a.device() == b.device();
}

/// Why `batch` cannot be replayed as `recorded`; empty if it can.
std::string difference_between(const Batch& recorded, const Batch& batch) {
  for (const auto& [name, tensor] : batch.tensors) {
    const auto found = recorded.tensors.find(name);
    if (found == recorded.tensors.end()) return fmt::format("tensor '{}' is new", name);
    if (!are_alike(tensor, found->second)) {
      return fmt::format("tensor '{}' is {}, that of the recording is {}", name, described(tensor),
                         described(found->second));
    }
  }
  if (batch.tensors.size() != recorded.tensors.size()) return "a tensor is missing";
  if (batch.num_samples != recorded.num_samples) return "the number of samples differs";
  if (batch.denominators != recorded.denominators) {
    return "the loss's denominators (Batch::denominators) differ from those of the recording";
  }
  return {};
}

template <typename Function>
Loss with_each(const Loss& loss, const Function& function) {
  Loss result{function(loss.value), {}};
  for (const auto& [name, metric] : loss.metrics) {
    result.metrics[name] = {function(metric.first), metric.second};
  }
  return result;
}

void run_backward(const Loss& loss) {
  const FlatBackward scope;
  loss.value.backward();
}

}  // namespace

MicroBatchPass::MicroBatchPass(Objective& objective, std::size_t phase, GradientExchange& exchange,
                               bool has_peers, const MakeRecorder& make_recorder)
    : objective_(objective), phase_(phase), exchange_(exchange), has_peers_(has_peers) {
  if (!make_recorder) return;
  if (objective.is_recordable(phase)) {
    recorder_ = make_recorder();
  } else {
    log_warning("run.cuda_graph: phase '{}' of this model cannot be recorded; it runs plain",
                objective.phases().at(phase).name);
  }
}

std::optional<Loss> MicroBatchPass::run(const Batch& batch, const StepContext& context,
                                        Place place) {
  const bool is_sent_in_backward = has_peers_ && place.is_last;
  if (!recorder_ || is_sent_in_backward) return run_plain(batch, context, place);
  const std::string difference = difference_between(recorded_, batch);
  if (is_recorded_) {
    if (difference.empty()) return replay(batch, place);
    tell_once(difference);
    return run_plain(batch, context, place);
  }
  if (!difference.empty()) {
    recorded_ = batch;
    num_rehearsals_ = 0;
  }
  if (num_rehearsals_ < kRehearsals) return rehearse(batch, context, place);
  record(batch, context);
  return replay(batch, place);
}

std::optional<Loss> MicroBatchPass::run_plain(const Batch& batch, const StepContext& context,
                                              Place place) {
  std::optional<Loss> loss = objective_.loss(batch, context, phase_);
  if (!loss) return loss;
  if (place.is_first) exchange_.begin_step();
  exchange_.begin(batch.micro_batch, place.is_last);
  run_backward(*loss);
  exchange_.end_micro_batch();
  return loss;
}

std::optional<Loss> MicroBatchPass::rehearse(const Batch& batch, const StepContext& context,
                                             Place place) {
  ++num_rehearsals_;
  std::optional<Loss> loss;
  recorder_->rehearse([&] { loss = run_plain(batch, context, place); });
  return loss;
}

// The exchange has not begun a micro-batch here: its hooks, which do fire now, are ignored.
void MicroBatchPass::record(const Batch& batch, const StepContext& context) {
  for (auto& [name, tensor] : recorded_.tensors) tensor = batch.at(name).clone();
  recorder_->record([this, context] {
    const std::optional<Loss> loss = objective_.loss(recorded_, context, phase_);
    KILN_CHECK(loss.has_value(), "a recordable phase rests");
    run_backward(*loss);
    // Without its history, which would keep the recording's accumulators of gradients, and with
    // them its stream, for the plain passes that follow.
    output_ = with_each(*loss, [](const at::Tensor& x) { return x.detach(); });
  });
  KILN_CHECK(objective_.sums(phase_).empty(), "a recordable phase has sums");
  is_recorded_ = true;
  log_info("run.cuda_graph: phase '{}' is replayed from step {} on",
           objective_.phases().at(phase_).name, context.step + 1);
}

Loss MicroBatchPass::replay(const Batch& batch, Place place) {
  if (place.is_first) exchange_.begin_step();
  for (auto& [name, tensor] : recorded_.tensors) {
    tensor.copy_(batch.at(name), /*non_blocking=*/true);
  }
  recorder_->replay();
  ++num_replays_;
  exchange_.begin(batch.micro_batch, place.is_last);
  exchange_.end_micro_batch();
  return with_each(output_, [](const at::Tensor& x) { return x.clone(); });
}

void MicroBatchPass::tell_once(const std::string& difference) {
  if (has_told_) return;
  has_told_ = true;
  log_warning("run.cuda_graph: {}; such micro-batches run plain", difference);
}

}  // namespace kiln
