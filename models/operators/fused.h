#pragma once

#include <cstdint>
#include <utility>

#include "core/torch.h"
#include "models/operators/dropout.h"

// Operators of transformer blocks in which several steps are one pass over memory, forward and
// backward. Each has a plain version of LibTorch's operators, its specification: that one runs on
// other devices than the host, in double precision and for layouts the loops do not take; and a
// gradient that is to be differentiated again is the plain version's (second_order.h).
//
// N rows, B samples, L tokens of each, H heads, D width, F hidden width.

namespace kiln {

/// y = x W^T + b: x [..., in], W [out, in], b [out] or undefined. Gradients of W and b go where
/// leaf_gradient.h says.
at::Tensor fused_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// gelu(x W1^T + b1) W2^T: [..., D] -> [..., D]. Keeps x and what enters the GELU, nothing else.
struct MlpWeights {
  at::Tensor w1, b1, w2;
};
at::Tensor fused_mlp(const at::Tensor& x, const MlpWeights& weights, bool is_tanh);
at::Tensor plain_mlp(const at::Tensor& x, const MlpWeights& weights, bool is_tanh);

/// attend() (attend.h) on packed heads: qkv [B, L, 3D], queries, keys and values in that order
/// -> [B, L, D].
at::Tensor fused_self_attend(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& mask,
                             double p, DropoutStream& drop, bool is_causal = false);
at::Tensor plain_self_attend(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& mask,
                             double p, DropoutStream& drop, bool is_causal = false);

/// h = x + gate * dropout(y + bias) and n = norm(h) * (gamma + gamma_offset) + beta, for x and y
/// [B, L, D] or [N, D]; gate [B, 1, D]; gamma and beta [D], or [B, 1, D] with one for each sample.
/// Undefined y: h is x. Undefined bias, gate, gamma, beta: left out.
struct ResidualNormInput {
  at::Tensor x, y, bias, gate, gamma, beta;
  double eps = 1e-6;
  double gamma_offset = 0.0;
  double dropout = 0.0;
  bool has_norm = true;
};
struct ResidualNormOutput {
  at::Tensor h, n;  // n undefined without norm
};
ResidualNormOutput fused_residual_norm(const ResidualNormInput& input, DropoutStream& drop);
ResidualNormOutput plain_residual_norm(const ResidualNormInput& input, DropoutStream& drop);

/// act(norm(x + shift) * gamma + beta) for maps [B, C, H, W], channels-last in the result; norm
/// over each of `groups` groups of channels and all pixels, act SiLU where asked.
struct GroupNormInput {
  at::Tensor x, gamma, beta;
  at::Tensor shift;  // [B, C], or undefined
  std::int64_t groups = 32;
  double eps = 1e-5;
  bool has_silu = false;
};
at::Tensor fused_group_norm(const GroupNormInput& input);
at::Tensor plain_group_norm(const GroupNormInput& input);

/// Convolution of maps [B, C, H, W], channels-last in the result: the weights are put in that
/// layout once for forward and backward. Gradients of weight and bias go where leaf_gradient.h
/// says.
struct ConvWeights {
  at::Tensor weight, bias;  // [out, in, k, k]; [out] or undefined
  std::int64_t stride = 1, padding = 0;
};
at::Tensor fused_conv(const at::Tensor& x, const ConvWeights& weights);
/// The same with fewer multiplications (models/kernels/winograd.h), where runs_in_winograd();
/// fused_conv() chooses.
bool runs_in_winograd(const at::Tensor& x, const ConvWeights& weights);
at::Tensor winograd_conv(const at::Tensor& x, const ConvWeights& weights);
at::Tensor plain_conv(const at::Tensor& x, const ConvWeights& weights);

/// a + b + bias of maps [B, C, H, W], channels-last in the result; bias [C].
at::Tensor fused_biased_sum(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias);
at::Tensor plain_biased_sum(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias);

/// cat({a, b}, 1) of maps, channels-last in the result and in the gradients.
at::Tensor fused_channel_join(const at::Tensor& a, const at::Tensor& b);

/// Rows of a table [V, D]: [...] int64 -> [..., D]. The gradient is dense.
at::Tensor fused_embedding(const at::Tensor& table, const at::Tensor& ids);

/// Over rows of scores [K, V] with labels [K]: the sum of -log softmax(row)[label], fp32, and how
/// often the label has the highest score.
struct CrossEntropy {
  at::Tensor sum, hits;
};
CrossEntropy fused_cross_entropy(const at::Tensor& logits, const at::Tensor& labels);
CrossEntropy plain_cross_entropy(const at::Tensor& logits, const at::Tensor& labels);

/// Whether the loops over host memory take it: fp32 or bf16 on the host.
bool runs_in_host_loops(const at::Tensor& x);

}  // namespace kiln
