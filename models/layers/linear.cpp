#include "models/layers/linear.h"

#include "models/operators/fused.h"

namespace kiln {

Linear::Linear(std::int64_t in, std::int64_t out, const at::TensorOptions& options, bool has_bias) {
  weight = register_parameter("weight", at::empty({out, in}, options));
  if (has_bias) bias = register_parameter("bias", at::empty({out}, options));
}

at::Tensor Linear::forward(const at::Tensor& x) const { return fused_linear(x, weight, bias); }

LayerNorm::LayerNorm(std::int64_t dim, double epsilon, const at::TensorOptions& options)
    : eps(epsilon) {
  weight = register_parameter("weight", at::empty({dim}, options));
  bias = register_parameter("bias", at::empty({dim}, options));
}

at::Tensor LayerNorm::forward(const at::Tensor& x) const {
  DropoutStream none;
  return fused_residual_norm({.x = x, .gamma = weight, .beta = bias, .eps = eps}, none).n;
}

}  // namespace kiln
