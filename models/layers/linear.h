#pragma once

#include <cstdint>

#include "core/torch.h"

namespace kiln {

/// y = x W^T + b, with W [out, in] and b [out].
///
/// Like all layers here it leaves its weights unset: the model that owns it fills them in one place
/// (layers/init.h) or loads them. `options` give type and device; the meta device allocates
/// nothing.
struct Linear : torch::nn::Module {
  Linear(std::int64_t in, std::int64_t out, const at::TensorOptions& options, bool has_bias = true);
  at::Tensor forward(const at::Tensor& x) const;  // [..., in] -> [..., out]

  at::Tensor weight, bias;
};

/// Layer norm over the last dimension; statistics in fp32 whatever the type of x.
struct LayerNorm : torch::nn::Module {
  LayerNorm(std::int64_t dim, double eps, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;  // [..., dim] -> [..., dim]

  double eps;
  at::Tensor weight, bias;
};

}  // namespace kiln
