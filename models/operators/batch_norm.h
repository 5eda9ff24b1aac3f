#pragma once

#include "core/torch.h"

// B samples, C channels, H x W pixels.

namespace kiln {

/// act(norm(x) * gamma + beta + added) for maps [B, C, H, W], channels-last in the result, or rows
/// [B, C]; norm over samples and pixels, by `mean` and `variance` [C] where those are defined, else
/// by what x itself has, act ReLU where asked. gamma and beta [C], undefined: left out; `added` as
/// x, or undefined.
struct BatchNormInput {
  at::Tensor x, gamma, beta, added;
  at::Tensor mean, variance;  // fp32, fp64 of fp64
  double eps = 1e-5;
  bool has_relu = false;
};
struct BatchNormOutput {
  at::Tensor y;
  at::Tensor statistics;  // [2, C], of x: mean and unbiased variance; undefined where given
};
BatchNormOutput fused_batch_norm(const BatchNormInput& input);
BatchNormOutput plain_batch_norm(const BatchNormInput& input);

}  // namespace kiln
