#pragma once

#include <functional>

#include "core/torch.h"

namespace kiln {

/// The gradient of a parameter, from within the backward of a hand-written operator.
///
/// While a parameter is trained, its gradient has a home in flat memory
/// (core/optimizer/flat_parameters.h), and whoever exchanges gradients waits for it with a hook. In
/// the loop's own backward (core/optimizer/flat_backward.h) a contribution is added at home and no
/// gradient is handed to autograd, which calls the hook all the same once the last use of the
/// parameter has been through backward: that saves a temporary of the parameter's size and three
/// passes over it. Everywhere else, in a torch::autograd::grad that a loss calls for one, the
/// gradient is returned as usual. Not for gradients that are to be differentiated again: those are
/// second_order.h's.
///
/// `contribution` writes to `into`, or adds to it where `is_added`.
using Contribution = std::function<void(at::Tensor& into, bool is_added)>;
at::Tensor give_gradient(const at::Tensor& leaf, const Contribution& contribution);

/// dW = dy^T x for y = x W^T. `sums`, if not null, becomes the sums of dy's columns where they come
/// with the product, and stays undefined elsewhere.
at::Tensor give_weight_gradient(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x,
                                at::Tensor* sums = nullptr);
/// A gradient that exists already, of fp32 sums for one; in the leaf's type where it is returned.
at::Tensor give_gradient_of(const at::Tensor& leaf, const at::Tensor& gradient);

}  // namespace kiln
