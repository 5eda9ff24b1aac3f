#pragma once

#include <ATen/core/Tensor.h>

// Mutual information, in nats. Divide by ln 2 for bits.
//
// N pairs.

namespace kiln {

/// I(X; Y) = sum p(x, y) log( p(x, y) / (p(x) p(y)) ) of a joint table [X, Y], with 0 log 0 = 0.
/// Differentiable, with the marginals as functions of the table, where no cell is empty.
at::Tensor mutual_information(const at::Tensor& joint);

/// Of two standard normal variables with correlation rho: -1/2 ln(1 - rho^2).
double gaussian_information(double rho);

/// log p(y_j | x_i) - log p(y_j) of such variables, [N, N] from x and y [N]: the critic with which
/// InfoNCE is tightest.
at::Tensor gaussian_critic(const at::Tensor& x, const at::Tensor& y, double rho);

/// The lower bound of InfoNCE (arXiv:1807.03748, equation 5) from a critic's scores [N, N] of x_i
/// and y_j, pairs on the diagonal:  ln N - mean cross-entropy of the rows  <=  I(X; Y), and never
/// above ln N.
at::Tensor info_nce_bound(const at::Tensor& scores);

}  // namespace kiln
