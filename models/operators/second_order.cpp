#include "models/operators/second_order.h"

namespace kiln {

using torch::autograd::variable_list;

variable_list differentiable_gradients(const variable_list& inputs,
                                       const std::vector<bool>& is_wanted,
                                       const variable_list& gradients, const PlainForm& plain) {
  // Inputs may depend on one another: each is given as a node of its own, at which autograd stops.
  variable_list own, wanted;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    own.push_back(inputs[i].defined() ? inputs[i].view_as(inputs[i]) : inputs[i]);
    if (is_wanted[i]) wanted.push_back(own.back());
  }
  variable_list used, given;
  const variable_list outputs = plain(own);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!gradients[i].defined() || !outputs[i].requires_grad()) continue;
    used.push_back(outputs[i]);
    given.push_back(gradients[i]);
  }
  variable_list results(inputs.size());
  if (used.empty() || wanted.empty()) return results;
  const variable_list found = torch::autograd::grad(used, wanted, given, /*retain_graph=*/true,
                                                    /*create_graph=*/true, /*allow_unused=*/true);
  for (std::size_t i = 0, next = 0; i < inputs.size(); ++i) {
    if (is_wanted[i]) results[i] = found[next++];
  }
  return results;
}

variable_list differentiable_gradients(torch::autograd::AutogradContext* ctx,
                                       const variable_list& inputs, const variable_list& gradients,
                                       const PlainForm& plain) {
  std::vector<bool> is_wanted;
  std::size_t edge = 0;  // undefined inputs have none
  for (const at::Tensor& input : inputs) {
    is_wanted.push_back(input.defined() && ctx->needs_input_grad(edge++));
  }
  variable_list results = differentiable_gradients(inputs, is_wanted, gradients, plain);
  constexpr std::size_t kMostOthers = 8;  // autograd drops the surplus
  results.resize(results.size() + kMostOthers);
  return results;
}

}  // namespace kiln
