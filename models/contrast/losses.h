#pragma once

#include <ATen/core/Tensor.h>

// Contrastive losses of given vectors. All compute in the type of their arguments (fp32 or fp64),
// never communicate, and are differentiable in every argument that is a vector.
//
// N pairs, D width, K negatives, T temperature.

namespace kiln {

/// Rows of unit length: x / max(|x|, 1e-12), [N, D].
at::Tensor unit_rows(const at::Tensor& x);

/// Margin loss of every pair (Hadsell et al., CVPR 2006), [N]; their mean is the loss:
///
///   1/2 [ y d^2 + (1 - y) max(m - d, 0)^2 ],   d = |a - b|
///
/// `is_positive` [N] bool. The distance under the hinge is sqrt(d^2 + 1e-12): its gradient at d = 0
/// is 0 there, and not a number without.
at::Tensor margin_loss(const at::Tensor& a, const at::Tensor& b, const at::Tensor& is_positive,
                       double margin);

/// InfoNCE (van den Oord et al., arXiv:1807.03748) of every query against its own key and a set of
/// negatives, [N]:  -log softmax([q_i . k_i, q_i . queue_1 ... q_i . queue_K] / T)[0]
///
/// q, k [N, D] and queue [K, D] of unit length.
struct QueueContrast {
  at::Tensor losses;     // [N]
  at::Tensor positives;  // [N]: q_i . k_i
  at::Tensor negatives;  // [N, K]: q_i . queue_j
};
QueueContrast info_nce_with_queue(const at::Tensor& q, const at::Tensor& k, const at::Tensor& queue,
                                  double temperature);

/// InfoNCE of every query with the other keys of the batch as negatives, [N]:
///   -log softmax(q_i . k_1 / T, ..., q_i . k_N / T)[i]
at::Tensor info_nce_in_batch(const at::Tensor& q, const at::Tensor& k, double temperature);
/// The mean of both directions, q to k and k to q, [N].
at::Tensor symmetric_info_nce(const at::Tensor& q, const at::Tensor& k, double temperature);

/// NT-Xent (SimCLR, arXiv:2002.05709, equation 1) of every row, [2 N]; their mean is the loss:
///
///   l_r = -log( exp(s(r, r') / T) / sum over k != r of exp(s(r, k) / T) ),  s the cosine
///
/// z [2 N, D] of any length, rows i and i + N the two views of picture i. The published code reports
/// the sum of both directions' means: twice the mean over the rows.
at::Tensor nt_xent(const at::Tensor& z, double temperature);

}  // namespace kiln
