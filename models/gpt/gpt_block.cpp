#include "models/gpt/gpt_block.h"

#include "core/base/error.h"
#include "models/layers/submodule.h"
#include "models/operators/attend.h"
#include "models/operators/fused.h"
#include "models/operators/precision.h"

namespace kiln {
namespace {

/// Token l of `count` new ones behind `before` others sees all tokens up to itself: bool
/// [count, before + count], or undefined where there is one.
at::Tensor causal_mask(std::int64_t before, std::int64_t count, const at::TensorOptions& options) {
  if (count == 1) return {};
  return at::ones({count, before + count}, options.dtype(at::kBool)).tril(before);
}

}  // namespace

GptNorm::GptNorm(const GptShape& shape, const at::TensorOptions& options) : eps(shape.norm_eps) {
  weight = register_parameter("weight", at::empty({shape.dim}, options));
  if (shape.has_biases()) bias = register_parameter("bias", at::empty({shape.dim}, options));
}

at::Tensor GptNorm::forward(const at::Tensor& x) const {
  if (bias.defined()) {
    DropoutStream none;
    return fused_residual_norm({.x = x, .gamma = weight, .beta = bias, .eps = eps}, none).n;
  }
  const at::Tensor wide = at_least_fp32(x);
  const at::Tensor scale = wide.square().mean(-1, /*keepdim=*/true).add(eps).rsqrt();
  return (wide * scale * weight).to(x.scalar_type());
}

GptBlock::GptBlock(const GptShape& choice, const at::TensorOptions& options) : shape(choice) {
  const std::int64_t D = shape.dim;
  norm1 = add<GptNorm>(*this, "norm1", shape, options);
  qkv = add<Linear>(*this, "qkv", D, 3 * D, options, shape.has_biases());
  proj = add<Linear>(*this, "proj", D, D, options, shape.has_biases());
  norm2 = add<GptNorm>(*this, "norm2", shape, options);
  fc1 = add<Linear>(*this, "fc1", D, 4 * D, options, shape.has_biases());
  fc2 = add<Linear>(*this, "fc2", 4 * D, D, options, shape.has_biases());
}

at::Tensor GptBlock::mlp_without_bias(const at::Tensor& x) const {
  if (shape.form == GptForm::kMini) {
    return fused_mlp(x, {fc1->weight, fc1->bias, fc2->weight}, /*is_tanh=*/false);
  }
  const at::Tensor hidden = fc1->forward(x);
  return fused_linear(hidden * at::sigmoid(hidden * 1.702), fc2->weight, {});
}

at::Tensor GptBlock::finish(const at::Tensor& x, const at::Tensor& mixed,
                            DropoutStream& drop) const {
  const auto join = [&](const at::Tensor& sum, const at::Tensor& branch, const Linear& last) {
    return fused_residual_norm({.x = sum,
                                .y = branch,
                                .bias = last.bias,
                                .dropout = shape.dropout,
                                .has_norm = false},
                               drop)
        .h;
  };
  const at::Tensor h = join(x, fused_linear(mixed, proj->weight, {}), *proj);
  return join(h, mlp_without_bias(norm2->forward(h)), *fc2);
}

at::Tensor GptBlock::forward(const at::Tensor& x, bool is_causal, DropoutStream& drop) const {
  const at::Tensor heads = qkv->forward(norm1->forward(x));
  const at::Tensor mixed =
      fused_self_attend(heads, shape.heads, {}, shape.attention_dropout, drop, is_causal);
  return finish(x, mixed, drop);
}

at::Tensor GptBlock::forward_next(const at::Tensor& x, KeyValueCache& cache) const {
  const std::int64_t B = x.size(0), L = x.size(1), D = shape.dim;
  const std::int64_t before = cache.length, all = before + L;
  KILN_CHECK(all <= cache.keys.size(2), "{} tokens in a cache of {}", all, cache.keys.size(2));
  const auto parts = qkv->forward(norm1->forward(x))
                         .view({B, L, 3, shape.heads, shape.head_dim()})
                         .permute({2, 0, 3, 1, 4})  // [3, B, H, L, d]
                         .unbind(0);
  cache.keys.narrow(2, before, L).copy_(parts[1]);
  cache.values.narrow(2, before, L).copy_(parts[2]);
  cache.length = all;
  DropoutStream none;
  const at::Tensor mixed =
      attend(parts[0], cache.keys.narrow(2, 0, all), cache.values.narrow(2, 0, all),
             causal_mask(before, L, x.options()), 0.0, none);
  return finish(x, mixed.transpose(1, 2).reshape({B, L, D}), none);
}

}  // namespace kiln
