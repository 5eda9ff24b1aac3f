#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "models/transport/network_simplex.h"

// N and M points of D values, K directions. All tensors double, on the host.

namespace kiln {

/// Euclidean distances of rows to the power `p`: [N, M].
at::Tensor transport_costs(const at::Tensor& x, const at::Tensor& y, double p);

/// solve_transport for tensors: cost [N, M], weights [N] and [M] (undefined: equal, sum 1).
TransportPlan solve_transport(const at::Tensor& cost, const at::Tensor& a, const at::Tensor& b);

/// A plan's masses as a matrix [N, M].
at::Tensor plan_matrix(const TransportPlan& plan, std::int64_t rows, std::int64_t cols);

/// K random directions of length 1 in D dimensions: normalised normal rows of
/// Philox(seed, kProjection, direction). [K, D]
at::Tensor random_directions(std::int64_t count, std::int64_t dim, std::uint64_t seed);

/// For each direction the one-dimensional W_p^p of the projected points (Rabin et al., 2011; Bonneel
/// et al., 2015). [K]; directions in parallel. The sliced distance is (mean)^(1/p).
at::Tensor sliced_transport(const at::Tensor& x, const at::Tensor& y, const at::Tensor& directions,
                            double p, const at::Tensor& a = {}, const at::Tensor& b = {});

}  // namespace kiln
