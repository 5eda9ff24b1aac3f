#include "models/operators/leaf_gradient.h"

#include "core/optimizer/flat_backward.h"
#include "models/kernels/device/device_matmul.h"
#include "models/operators/host_tensors.h"
#include "models/operators/matmul.h"

namespace kiln {
namespace {

// dy^T x and the sums of dy's columns in one product; those are undefined where there is none.
at::Tensor multiply_and_sum(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& into,
                            bool is_added) {
  if (!runs_in_device_loops(x) || !dy.is_contiguous() || !x.is_contiguous()) return {};
  const at::Tensor sums = at::empty({dy.size(1)}, dy.options());
  const bool is_done = device_matmul(weight_gradient_shape(x.size(0), x.size(1), dy.size(1)),
                                     {.a = x.data_ptr(),
                                      .b = dy.data_ptr(),
                                      .d = into.data_ptr(),
                                      .bias = sums.data_ptr(),
                                      .is_bf16 = x.scalar_type() == at::kBFloat16,
                                      .is_added = is_added});
  return is_done ? sums : at::Tensor();
}

// Only in the loop's own backward, and never where the gradient itself is to be differentiated.
bool goes_home(const at::Tensor& leaf) {
  return FlatBackward::is_running() && !at::GradMode::is_enabled() && leaf.is_leaf() &&
         leaf.requires_grad() && leaf.grad().defined() &&
         torch::autograd::impl::post_acc_grad_hooks(leaf);
}

}  // namespace

at::Tensor give_gradient(const at::Tensor& leaf, const Contribution& contribution) {
  if (goes_home(leaf)) {
    at::Tensor home = leaf.grad();
    contribution(home, /*is_added=*/true);
    return {};
  }
  at::Tensor fresh = at::empty_like(leaf, at::MemoryFormat::Contiguous);
  contribution(fresh, /*is_added=*/false);
  return fresh;
}

at::Tensor give_weight_gradient(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x,
                                at::Tensor* sums) {
  return give_gradient(weight, [&](at::Tensor& into, bool is_added) {
    // A convolution's weights of 1 x 1 are a matrix as well.
    at::Tensor matrix = into.view({into.size(0), -1});
    if (sums) *sums = multiply_and_sum(dy, x, matrix, is_added);
    if (sums && sums->defined()) return;
    multiply_into(matrix, dy.t(), x, is_added);
  });
}

at::Tensor give_gradient_of(const at::Tensor& leaf, const at::Tensor& gradient) {
  return give_gradient(leaf, [&](at::Tensor& into, bool is_added) {
    const at::Tensor shaped = gradient.view(into.sizes());
    is_added ? into.add_(shaped) : into.copy_(shaped);
  });
}

}  // namespace kiln
