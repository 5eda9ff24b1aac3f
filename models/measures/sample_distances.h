#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

// Two samples of N and M points. Distances between points are given as matrices, so that they are
// computed once for many weightings (a bootstrap): xx [N, N], yy [M, M], xy [N, M], double.

namespace kiln {

/// Euclidean distances within and between two samples of rows.
struct PointDistances {
  at::Tensor xx, yy, xy;
  PointDistances(const at::Tensor& x, const at::Tensor& y);
};

/// A distance as its U-statistic (pairs of different points only) and as its V-statistic (all pairs,
/// which is never negative).
struct SampleDistance {
  double unbiased = 0.0;
  double biased = 0.0;
};

/// Squared maximum mean discrepancy with the kernel exp(-d^2 / (2 bandwidth^2)) (Gretton et al.,
/// 2012). Weights [N], [M]: undefined for equal.
SampleDistance mmd_squared(const PointDistances& distances, double bandwidth,
                           const at::Tensor& a = {}, const at::Tensor& b = {});

/// 2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely and Rizzo).
SampleDistance energy_distance(const PointDistances& distances, const at::Tensor& a = {},
                               const at::Tensor& b = {});

/// The median distance between different points of both samples: the usual bandwidth.
double median_distance(const PointDistances& distances);

/// Terms [N] whose mean estimates KL(p | q) from samples of both, by distances to the k-th nearest
/// point in the own and in the other sample (Wang, Kulkarni and Verdu, 2009):
/// D ln(nu_i / rho_i) + ln(M / (N - 1)), D dimensions. Consistent, with a bias that falls slowly in
/// many dimensions. Points that coincide with their k-th neighbour are taken one smallest positive
/// distance apart.
at::Tensor nearest_kl_terms(const PointDistances& distances, std::int64_t dim, std::int64_t k);

}  // namespace kiln
