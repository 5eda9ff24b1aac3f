#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/torch.h"
#include "models/layers/conv.h"
#include "models/layers/linear.h"
#include "models/operators/dropout.h"

// Parts of the U-Net. Parameters carry the names of diffusers, with query, key and value fused.
//
// B samples, C channels, H x W pixels, L = H * W, T width of the time embedding, S context tokens
// of width E.

namespace kiln {

enum class Resize { kNone, kHalve, kDouble };

struct UNetResOptions {
  std::int64_t in = 0, out = 0, time_dim = 0, groups = 32;
  double eps = 1e-5;
  bool has_scale_shift = false;  // the embedding scales and shifts instead of being added
  Resize resize = Resize::kNone;
  double dropout = 0.0;
};

/// conv2(drop(silu(norm2(conv1(silu(norm1(x))) + time)))) + x, resized on the way where asked.
struct UNetResBlock : torch::nn::Module {
  UNetResBlock(const UNetResOptions& res, const at::TensorOptions& options);
  /// `time` [B, T] is the time embedding after SiLU.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& time, DropoutStream& drop) const;

  UNetResOptions res;
  std::shared_ptr<GroupNorm> norm1, norm2;
  std::shared_ptr<Conv2d> conv1, conv2, conv_shortcut;  // the last may be null
  std::shared_ptr<Linear> time_emb_proj;
};

/// Attention of all pixels to each other, with a residual connection.
struct UNetAttention : torch::nn::Module {
  UNetAttention(std::int64_t channels, std::int64_t heads, std::int64_t groups, double eps,
                const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;

  std::int64_t heads;
  std::shared_ptr<GroupNorm> group_norm;
  std::shared_ptr<Linear> to_qkv, to_out;
};

/// Self-attention, attention to the context, and a GEGLU MLP, each after a layer norm and with a
/// residual connection.
struct ContextBlock : torch::nn::Module {
  ContextBlock(std::int64_t dim, std::int64_t heads, std::int64_t context_dim,
               const at::TensorOptions& options);
  at::Tensor forward(at::Tensor x, const at::Tensor& context) const;  // [B, L, C]

  std::int64_t heads;
  std::shared_ptr<LayerNorm> norm1, norm2, norm3;
  std::shared_ptr<Linear> self_qkv, self_out;            // attn1
  std::shared_ptr<Linear> cross_q, cross_kv, cross_out;  // attn2
  std::shared_ptr<Linear> ff_in, ff_out;                 // values above gates
};

/// Pixels as tokens through context blocks, with a residual connection.
struct SpatialTransformer : torch::nn::Module {
  SpatialTransformer(std::int64_t channels, std::int64_t heads, std::int64_t depth,
                     std::int64_t context_dim, std::int64_t groups, bool has_linear_projection,
                     const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& context) const;

  /// A 1 x 1 convolution, or the same as a matrix: published checkpoints hold either.
  struct Projection : torch::nn::Module {
    Projection(std::int64_t channels, bool is_linear, const at::TensorOptions& options);
    at::Tensor forward(const at::Tensor& tokens) const;
    at::Tensor weight, bias;
  };
  std::shared_ptr<GroupNorm> norm;
  std::shared_ptr<Projection> proj_in, proj_out;
  std::vector<std::shared_ptr<ContextBlock>> transformer_blocks;
};

}  // namespace kiln
