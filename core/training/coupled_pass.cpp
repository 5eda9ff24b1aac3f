#include "core/training/coupled_pass.h"

#include "core/base/error.h"
#include "core/optimizer/flat_backward.h"
#include "core/torch.h"

namespace kiln {

CoupledPass::CoupledPass(Objective& objective, std::size_t phase, GradientExchange& exchange,
                         Communicator& host, Communicator& communicator,
                         std::int64_t num_micro_batches)
    : objective_(objective),
      phase_(phase),
      exchange_(exchange),
      gather_(host, communicator, num_micro_batches) {}

Loss CoupledPass::run(const std::vector<Batch>& batches, const StepContext& context,
                      OrderedSums& sums) {
  KILN_CHECK(!batches.empty(), "a rank without micro-batches in a coupled phase");
  Rows live = embed_all(batches, context, sums);
  rows_ = gather_.all();
  Loss loss = couple(live, context);
  exchange_.begin_step();
  for (const Batch& batch : batches) {
    if (&batch != &batches.front()) live = objective_.embed(batch, context, phase_);
    exchange_.begin(batch.micro_batch, &batch == &batches.back());
    backward(live, batch.micro_batch);
    exchange_.end_micro_batch();
    live.clear();
  }
  return loss;
}

/// Rows of this rank's first micro-batch, with their history.
Rows CoupledPass::embed_all(const std::vector<Batch>& batches, const StepContext& context,
                            OrderedSums& sums) {
  Rows live;
  for (auto batch = batches.rbegin(); batch != batches.rend(); ++batch) {
    live.clear();  // one graph at a time
    live = objective_.embed(*batch, context, phase_);
    sums.add(batch->micro_batch, objective_.sums(phase_));
    gather_.put(batch->micro_batch, live);
  }
  return live;
}

Loss CoupledPass::couple(const Rows& live, const StepContext& context) {
  Rows leaves;
  std::vector<std::string> names;  // of those with a gradient
  std::vector<at::Tensor> inputs;
  for (const auto& [name, tensor] : rows_) {
    leaves[name] = tensor.detach();
    if (!live.at(name).requires_grad()) continue;
    leaves[name].set_requires_grad(true);
    names.push_back(name);
    inputs.push_back(leaves[name]);
  }
  KILN_CHECK(!inputs.empty(), "no rows of phase {} have a gradient", phase_);
  Loss loss = objective_.couple(leaves, context, phase_);
  const std::vector<at::Tensor> gradients = torch::autograd::grad(
      {loss.value}, inputs, /*grad_outputs=*/{}, /*retain_graph=*/false, /*create_graph=*/false,
      /*allow_unused=*/true);
  gradients_.clear();
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (gradients[i].defined()) gradients_[names[i]] = gradients[i];
  }
  loss.value = loss.value.detach();
  return loss;
}

void CoupledPass::backward(const Rows& rows, std::int64_t micro_batch) {
  std::vector<at::Tensor> roots, gradients;
  for (const auto& [name, gradient] : gradients_) {
    const at::Tensor& tensor = rows.at(name);
    roots.push_back(tensor);
    const std::int64_t count = tensor.size(0);
    gradients.push_back(gradient.narrow(0, micro_batch * count, count));
  }
  if (roots.empty()) return;
  const FlatBackward scope;
  torch::autograd::backward(roots, gradients);
}

}  // namespace kiln
