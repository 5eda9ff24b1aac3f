#include "models/layers/leaf_gradient.h"

namespace kiln {

at::Tensor give_gradient(const at::Tensor& leaf, const Contribution& contribution) {
  const bool is_leaf = leaf.defined() && leaf.is_leaf() && leaf.requires_grad();
  const auto* hook = is_leaf ? &torch::autograd::impl::post_acc_grad_hooks(leaf) : nullptr;
  if (hook && *hook && leaf.grad().defined()) {
    const at::NoGradGuard no_grad;
    at::Tensor home = leaf.grad();
    contribution(home, /*is_added=*/true);
    return {};
  }
  at::Tensor fresh = at::empty_like(leaf, at::MemoryFormat::Contiguous);
  contribution(fresh, /*is_added=*/false);
  return fresh;
}

at::Tensor give_weight_gradient(const at::Tensor& weight, const at::Tensor& dy,
                                const at::Tensor& x) {
  return give_gradient(weight, [&](at::Tensor& into, bool is_added) {
    // A convolution's weights of 1 x 1 are a matrix as well.
    at::Tensor matrix = into.view({into.size(0), -1});
    if (is_added) {
      matrix.addmm_(dy.t(), x);
    } else {
      at::mm_out(matrix, dy.t(), x);
    }
  });
}

at::Tensor give_gradient_of(const at::Tensor& leaf, const at::Tensor& gradient) {
  return give_gradient(leaf, [&](at::Tensor& into, bool is_added) {
    const at::Tensor shaped = gradient.view(into.sizes());
    is_added ? into.add_(shaped) : into.copy_(shaped);
  });
}

}  // namespace kiln
