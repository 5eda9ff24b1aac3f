#include "models/layers/conv.h"

#include "models/operators/fused.h"

namespace kiln {

Conv2d::Conv2d(std::int64_t in, std::int64_t out, std::int64_t kernel,
               const at::TensorOptions& options, std::int64_t step, std::int64_t pad, bool has_bias)
    : stride(step), padding(pad) {
  weight = register_parameter("weight", at::empty({out, in, kernel, kernel}, options));
  if (has_bias) bias = register_parameter("bias", at::empty({out}, options));
}

at::Tensor Conv2d::forward(const at::Tensor& x) const {
  const ConvWeights weights{weight, bias, stride, padding};
  return at::GradMode::is_enabled() ? plain_conv(x, weights) : fused_conv(x, weights);
}

at::Tensor Conv2d::forward_trained(const at::Tensor& x, bool is_bias_added) const {
  return fused_conv(x, {weight, is_bias_added ? bias : at::Tensor(), stride, padding});
}

GroupNorm::GroupNorm(std::int64_t num_groups, std::int64_t channels, double epsilon,
                     const at::TensorOptions& options)
    : groups(num_groups), eps(epsilon) {
  weight = register_parameter("weight", at::empty({channels}, options));
  bias = register_parameter("bias", at::empty({channels}, options));
}

at::Tensor GroupNorm::forward(const at::Tensor& x) const {
  return fused_group_norm(
      {.x = x, .gamma = weight, .beta = bias, .shift = {}, .groups = groups, .eps = eps});
}

at::Tensor GroupNorm::forward_silu(const at::Tensor& x, const at::Tensor& shift) const {
  return fused_group_norm({.x = x,
                           .gamma = weight,
                           .beta = bias,
                           .shift = shift,
                           .groups = groups,
                           .eps = eps,
                           .has_silu = true});
}

at::Tensor to_tokens(const at::Tensor& x) {
  return x.permute({0, 2, 3, 1}).reshape({x.size(0), x.size(2) * x.size(3), x.size(1)});
}

at::Tensor from_tokens(const at::Tensor& tokens, std::int64_t height, std::int64_t width) {
  return tokens.reshape({tokens.size(0), height, width, tokens.size(2)}).permute({0, 3, 1, 2});
}

at::Tensor upsample_nearest(const at::Tensor& x) {
  return at::upsample_nearest2d(x, at::IntArrayRef{2 * x.size(2), 2 * x.size(3)});
}

}  // namespace kiln
