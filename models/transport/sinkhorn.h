#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/transport/network_simplex.h"

namespace kiln {

struct SinkhornOptions {
  double epsilon = 0.1;  // in the costs' unit, above 0
  double tolerance = 1e-9;
  std::int64_t max_iterations = 10'000;
};

struct SinkhornPlan {
  std::vector<double> f, g;    // P_ij = a_i b_j exp((f_i + g_j - cost_ij) / epsilon)
  std::vector<double> errors;  // sum_i |sum_j P_ij - a_i| after each iteration
  double cost = 0.0;           // sum P cost
  double regularised = 0.0;    // sum a f + sum b g
  bool has_converged = false;
  std::int64_t iterations() const { return static_cast<std::int64_t>(errors.size()); }
};

/// min of sum P cost + epsilon KL(P | a x b) (Cuturi, arXiv:1306.0895), in the log domain: from
/// f = g = 0 on, an iteration renews f_i = -eps ln sum_j b_j exp((g_j - cost_ij) / eps), then g
/// likewise, until the error is at most `tolerance`.
///
/// An iteration is one pass over a kernel of exponentials, [n, m] beside the costs; where its sums
/// leave the range of doubles the iteration is done as log-sum-exp and the kernel is made anew. The
/// same bits on any number of threads. Weights as check_transport takes them; throws Error(kUsage)
/// likewise.
SinkhornPlan sinkhorn(const CostMatrix& cost, std::span<const double> a, std::span<const double> b,
                      const SinkhornOptions& options);

/// P, [n, m] row by row.
std::vector<double> sinkhorn_matrix(const CostMatrix& cost, std::span<const double> a,
                                    std::span<const double> b, const SinkhornPlan& plan,
                                    double epsilon);

}  // namespace kiln
