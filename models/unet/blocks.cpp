#include "models/unet/blocks.h"

#include "models/layers/attention.h"
#include "models/layers/submodule.h"
#include "models/operators/fused.h"
#include "models/operators/host_tensors.h"
#include "models/operators/matmul.h"

namespace kiln {
namespace {

/// [B, L, H d] -> [B, H, L, d]
at::Tensor split_heads(const at::Tensor& x, std::int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

/// q [B, L, D], k and v [B, S, D] -> [B, L, D]
at::Tensor multi_head(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      std::int64_t heads) {
  DropoutStream none;
  const at::Tensor mixed =
      attend(split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), {}, 0.0, none);
  return mixed.transpose(1, 2).reshape(q.sizes());
}

at::Tensor resized(const at::Tensor& x, Resize resize) {
  if (resize == Resize::kHalve) return at::avg_pool2d(x, {2, 2});
  return resize == Resize::kDouble ? upsample_nearest(x) : x;
}

}  // namespace

UNetResBlock::UNetResBlock(const UNetResOptions& choice, const at::TensorOptions& options)
    : res(choice) {
  norm1 = add<GroupNorm>(*this, "norm1", res.groups, res.in, res.eps, options);
  conv1 = add<Conv2d>(*this, "conv1", res.in, res.out, 3, options, 1, 1);
  time_emb_proj = add<Linear>(*this, "time_emb_proj", res.time_dim,
                              (res.has_scale_shift ? 2 : 1) * res.out, options);
  norm2 = add<GroupNorm>(*this, "norm2", res.groups, res.out, res.eps, options);
  conv2 = add<Conv2d>(*this, "conv2", res.out, res.out, 3, options, 1, 1);
  if (res.in != res.out) {
    conv_shortcut = add<Conv2d>(*this, "conv_shortcut", res.in, res.out, 1, options);
  }
}

// Biases are added, and their gradients taken, in the passes over memory that come next anyway.
at::Tensor UNetResBlock::forward(const at::Tensor& x, const at::Tensor& time,
                                 DropoutStream& drop) const {
  const at::Tensor inner = resized(norm1->forward_silu(x), res.resize);
  const at::Tensor embedded = time_emb_proj->forward(time);
  at::Tensor h;
  if (res.has_scale_shift) {
    const auto parts = embedded.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);  // [B, C, 1, 1] each
    h = at::silu(norm2->forward(conv1->forward_trained(inner)) * (parts[0] + 1.0) + parts[1]);
  } else {
    h = norm2->forward_silu(conv1->forward_trained(inner, false), embedded + conv1->bias);
  }
  const bool is_fused = runs_in_device_loops(h);  // the host's library adds biases on its way
  h = conv2->forward_trained(drop.dropout(h, res.dropout), !is_fused);
  at::Tensor around = resized(x, res.resize);
  if (conv_shortcut) around = conv_shortcut->forward_trained(around, !is_fused);
  if (!is_fused) return around + h;
  return fused_biased_sum(around, h,
                          conv_shortcut ? conv2->bias + conv_shortcut->bias : conv2->bias);
}

UNetAttention::UNetAttention(std::int64_t channels, std::int64_t num_heads, std::int64_t groups,
                             double eps, const at::TensorOptions& options)
    : heads(num_heads) {
  group_norm = add<GroupNorm>(*this, "group_norm", groups, channels, eps, options);
  to_qkv = add<Linear>(*this, "to_qkv", channels, 3 * channels, options);
  to_out = add<Linear>(*this, "to_out", channels, channels, options);
}

at::Tensor UNetAttention::forward(const at::Tensor& x) const {
  DropoutStream none;
  const at::Tensor qkv = to_qkv->forward(to_tokens(group_norm->forward(x)));
  const at::Tensor mixed = to_out->forward(fused_self_attend(qkv, heads, {}, 0.0, none));
  return x + from_tokens(mixed, x.size(2), x.size(3));
}

ContextBlock::ContextBlock(std::int64_t dim, std::int64_t num_heads, std::int64_t context_dim,
                           const at::TensorOptions& options)
    : heads(num_heads) {
  constexpr double kEps = 1e-5;
  norm1 = add<LayerNorm>(*this, "norm1", dim, kEps, options);
  self_qkv = add<Linear>(*this, "self_qkv", dim, 3 * dim, options, /*has_bias=*/false);
  self_out = add<Linear>(*this, "self_out", dim, dim, options);
  norm2 = add<LayerNorm>(*this, "norm2", dim, kEps, options);
  cross_q = add<Linear>(*this, "cross_q", dim, dim, options, false);
  cross_kv = add<Linear>(*this, "cross_kv", context_dim, 2 * dim, options, false);
  cross_out = add<Linear>(*this, "cross_out", dim, dim, options);
  norm3 = add<LayerNorm>(*this, "norm3", dim, kEps, options);
  ff_in = add<Linear>(*this, "ff_in", dim, 8 * dim, options);
  ff_out = add<Linear>(*this, "ff_out", 4 * dim, dim, options);
}

at::Tensor ContextBlock::forward(at::Tensor x, const at::Tensor& context) const {
  DropoutStream none;
  const at::Tensor qkv = self_qkv->forward(norm1->forward(x));
  x = x + self_out->forward(fused_self_attend(qkv, heads, {}, 0.0, none));
  const auto kv = cross_kv->forward(context).chunk(2, -1);  // [B, S, C] each
  x = x + cross_out->forward(multi_head(cross_q->forward(norm2->forward(x)), kv[0], kv[1], heads));
  const auto halves = ff_in->forward(norm3->forward(x)).chunk(2, -1);  // value, gate
  return x + ff_out->forward(halves[0] * at::gelu(halves[1]));
}

SpatialTransformer::Projection::Projection(std::int64_t channels, bool is_linear,
                                           const at::TensorOptions& options) {
  std::vector<std::int64_t> shape = {channels, channels};
  if (!is_linear) shape.insert(shape.end(), {1, 1});
  weight = register_parameter("weight", at::empty(shape, options));
  bias = register_parameter("bias", at::empty({channels}, options));
}

at::Tensor SpatialTransformer::Projection::forward(const at::Tensor& tokens) const {
  return linear_product(tokens, weight.flatten(1), bias);
}

SpatialTransformer::SpatialTransformer(std::int64_t channels, std::int64_t heads,
                                       std::int64_t depth, std::int64_t context_dim,
                                       std::int64_t groups, bool has_linear_projection,
                                       const at::TensorOptions& options) {
  norm = add<GroupNorm>(*this, "norm", groups, channels, 1e-6, options);
  proj_in = add<Projection>(*this, "proj_in", channels, has_linear_projection, options);
  const auto list = add<torch::nn::Module>(*this, "transformer_blocks");
  for (std::int64_t i = 0; i < depth; ++i) {
    transformer_blocks.push_back(
        add<ContextBlock>(*list, std::to_string(i), channels, heads, context_dim, options));
  }
  proj_out = add<Projection>(*this, "proj_out", channels, has_linear_projection, options);
}

at::Tensor SpatialTransformer::forward(const at::Tensor& x, const at::Tensor& context) const {
  at::Tensor tokens = proj_in->forward(to_tokens(norm->forward(x)));  // [B, L, C]
  for (const auto& block : transformer_blocks) tokens = block->forward(tokens, context);
  return x + from_tokens(proj_out->forward(tokens), x.size(2), x.size(3));
}

}  // namespace kiln
