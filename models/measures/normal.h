#pragma once

#include <ATen/core/Tensor.h>

// D dimensions. Divergences are in nats; p is the first distribution, q the second.

namespace kiln {

/// A normal distribution: mean [D], covariance [D, D], double, on the host.
struct Normal {
  at::Tensor mean;
  at::Tensor covariance;

  /// Of weighted rows [N, D] (weights [N]; undefined: equal), divisor sum of weights: the most
  /// likely one.
  static Normal fit(const at::Tensor& rows, const at::Tensor& weights = {});
};

/// |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^(1/2) C2 C1^(1/2))^(1/2)): the squared W2 of two normal
/// distributions (Bures; Dowson and Landau, 1982).
double bures_squared(const Normal& p, const Normal& q);

/// A of the optimal map x -> m2 + A (x - m1): C1^(-1/2) (C1^(1/2) C2 C1^(1/2))^(1/2) C1^(-1/2).
at::Tensor bures_map(const Normal& p, const Normal& q);

/// KL(p | q); infinite where q is singular. Throws Error(kUsage) where p's covariance is.
double kl_divergence(const Normal& p, const Normal& q);

/// 1 - integral of sqrt(p q).
double hellinger_squared(const Normal& p, const Normal& q);

/// One-dimensional normal distributions.
struct LineNormal {
  double mean = 0.0;
  double deviation = 1.0;
};
/// Half the integral of |p - q|, from the points where the densities cross.
double total_variation(const LineNormal& p, const LineNormal& q);
/// (KL(p | m) + KL(q | m)) / 2, m = (p + q) / 2; by the trapezoidal rule, which converges faster
/// than any power of its step here.
double jensen_shannon(const LineNormal& p, const LineNormal& q);
/// W1 = E|(m1 - m2) + (s1 - s2) Z|.
double wasserstein_1(const LineNormal& p, const LineNormal& q);

}  // namespace kiln
