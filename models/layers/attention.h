#pragma once

#include <cstdint>
#include <memory>

#include "core/torch.h"
#include "models/layers/linear.h"
#include "models/operators/attend.h"
#include "models/operators/dropout.h"

// B samples, L queries, S keys, H heads, D = H * d width.

namespace kiln {

struct AttentionOptions {
  std::int64_t dim = 0;
  std::int64_t heads = 1;
  bool has_qkv_bias = true;
  double dropout = 0.0;  // of the attention weights
};

/// Multi-head self-attention. Queries, keys and values come from one matrix `qkv` [3D, D], rows in
/// that order, each with its heads in order.
struct Attention : torch::nn::Module {
  Attention(const AttentionOptions& attention, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& mask, DropoutStream& drop) const;
  /// forward() without the last matrix and bias, `proj`.
  at::Tensor mix(const at::Tensor& x, const at::Tensor& mask, DropoutStream& drop) const;

  AttentionOptions attention;
  std::shared_ptr<Linear> qkv, proj;
};

}  // namespace kiln
