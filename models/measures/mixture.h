#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "models/measures/normal.h"

// N points of D values, K components. Double, on the host.

namespace kiln {

/// A mixture of normal distributions with full covariances.
struct Mixture {
  at::Tensor weights;      // [K]
  at::Tensor means;        // [K, D]
  at::Tensor covariances;  // [K, D, D]

  std::int64_t num_components() const { return weights.size(0); }
  /// ln of weight times density: [N, K].
  at::Tensor log_terms(const at::Tensor& x) const;
  /// ln p(x): [N].
  at::Tensor log_density(const at::Tensor& x) const;
  /// p(component | x): [N, K].
  at::Tensor responsibilities(const at::Tensor& x) const;
};

struct EmOptions {
  std::int64_t components = 8;
  std::int64_t max_iterations = 500;
  double tolerance = 1e-6;    // ends when the mean log-likelihood rises by less
  double ridge = 1e-6;        // added to the covariances' diagonals
  std::int64_t attempts = 3;  // starts, of which the likeliest end is kept
  std::uint64_t seed = 0;
};

/// One iteration of expectation-maximisation (Dempster, Laird and Rubin, 1977): responsibilities
/// from `mixture`, then weights N_k / N, means, and scatter about the new mean plus the ridge, with
/// N_k = 10 eps + sum of responsibilities.
Mixture em_step(const Mixture& mixture, const at::Tensor& x, double ridge);

struct EmFit {
  Mixture mixture;
  /// Mean ln p of the data before each iteration and after the last: never falls, up to what the
  /// ridge costs.
  std::vector<double> log_likelihoods;
  bool has_converged = false;
};

/// From `start` on.
EmFit fit_mixture(const Mixture& start, const at::Tensor& x, const EmOptions& options);

/// From means chosen among the points as k-means++ does (Arthur and Vassilvitskii, 2007), common
/// spherical covariances and equal weights; the best of `attempts`. Throws Error(kUsage) for more
/// components than points.
EmFit fit_mixture(const at::Tensor& x, const EmOptions& options);

/// The normal distribution q that makes KL(q | mixture) smallest from `start` on: it settles on a
/// mode, where that of KL(mixture | q), the fit of moments, covers all. By Adam with falling
/// steps on the mean and Cholesky factor of q over fixed standard
/// normal points; stratified in one dimension.
struct ReverseFit {
  Normal normal;
  double kl = 0.0;  // KL(q | mixture)
};
ReverseFit fit_reverse_kl(const Mixture& mixture, const Normal& start, std::uint64_t seed);

/// The normal distribution with the mixture's moments: the least KL(mixture | q).
Normal moments(const Mixture& mixture);

}  // namespace kiln
