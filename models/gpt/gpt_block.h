#pragma once

#include <memory>
#include <optional>

#include "models/gpt/gpt_shape.h"
#include "models/layers/linear.h"
#include "models/operators/dropout.h"

// B samples, L tokens, H heads, D = H * d width.

namespace kiln {

/// The norm of one form over the last dimension, statistics in fp32:
///   kMini   (x - mean) / sqrt(variance + eps) * weight + bias
///   kImage  x / sqrt(mean(x^2) + eps) * weight
struct GptNorm : torch::nn::Module {
  GptNorm(const GptShape& shape, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;  // [..., D] -> [..., D]

  double eps;
  at::Tensor weight, bias;  // bias undefined for kImage
};

/// Keys and values of the tokens that a block has seen, so that a further token costs one row.
struct KeyValueCache {
  at::Tensor keys, values;  // [B, H, max_positions, d]
  std::int64_t length = 0;  // tokens in it
};

/// x + attention(norm1(x)), then x + mlp(norm2(x)), the mlp four times as wide.
struct GptBlock : torch::nn::Module {
  GptBlock(const GptShape& shape, const at::TensorOptions& options);

  /// [B, L, D] -> [B, L, D]. Where `is_causal`, token l sees the tokens 0 .. l; else all see all.
  at::Tensor forward(const at::Tensor& x, bool is_causal, DropoutStream& drop) const;
  /// The same, causal and without dropout, for tokens that follow those in `cache`, which is
  /// extended by them.
  at::Tensor forward_next(const at::Tensor& x, KeyValueCache& cache) const;

  GptShape shape;
  std::shared_ptr<GptNorm> norm1, norm2;
  std::shared_ptr<Linear> qkv, proj, fc1, fc2;

 private:
  at::Tensor finish(const at::Tensor& x, const at::Tensor& mixed, DropoutStream& drop) const;
  at::Tensor mlp_without_bias(const at::Tensor& x) const;
};

}  // namespace kiln
