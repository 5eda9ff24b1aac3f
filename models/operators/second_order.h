#pragma once

#include <functional>

#include "core/torch.h"

namespace kiln {

/// An operator in LibTorch's own operations: inputs -> outputs.
using PlainForm =
    std::function<torch::autograd::variable_list(const torch::autograd::variable_list& inputs)>;

/// Whether the node that runs is asked for gradients that can be differentiated again.
inline bool is_graph_created() { return at::GradMode::is_enabled(); }

/// The gradients of `plain` at `inputs`, as functions of `inputs` and `gradients` that autograd can
/// follow. `gradients` are those of the outputs, undefined where one is not used. The result has
/// one tensor for each input, undefined where is_wanted[i] is false or nothing depends on it.
torch::autograd::variable_list differentiable_gradients(
    const torch::autograd::variable_list& inputs, const std::vector<bool>& is_wanted,
    const torch::autograd::variable_list& gradients, const PlainForm& plain);

/// What the backward of a hand-written operator returns where is_graph_created(): `inputs` are all
/// tensors that its forward was given, in their order, saved as they came, undefined ones included.
/// Undefined tensors follow, for arguments that are no tensors.
torch::autograd::variable_list differentiable_gradients(
    torch::autograd::AutogradContext* ctx, const torch::autograd::variable_list& inputs,
    const torch::autograd::variable_list& gradients, const PlainForm& plain);

}  // namespace kiln
