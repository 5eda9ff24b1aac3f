#pragma once

#include <cstdint>
#include <span>
#include <vector>

// Legend: n sources, m sinks.

namespace kiln {

/// The costs of a transport problem: [n, m], row by row, finite.
struct CostMatrix {
  const double* values = nullptr;
  std::int64_t rows = 0;  // n
  std::int64_t cols = 0;  // m
  const double* row(std::int64_t i) const { return values + i * cols; }
};

/// What both solvers ask for: weights `a` [n] and `b` [m] that are finite, not negative and have one
/// sum above 0, up to 1e-9 of it. Throws Error(kUsage).
void check_transport(const CostMatrix& cost, std::span<const double> a, std::span<const double> b);

struct Shipment {
  std::int64_t from = 0;
  std::int64_t to = 0;
  double mass = 0.0;
};

/// An optimal plan and its proof.
struct TransportPlan {
  std::vector<Shipment> shipments;  // positive masses, by (from, to); at most n + m - 1
  std::vector<double> f;            // [n] potentials: f_i + g_j <= cost_ij for all i, j,
  std::vector<double> g;            // [m] up to rounding of the costs
  double cost = 0.0;                // sum of mass * cost: the least there is, or
  double dual = 0.0;                // sum a f + sum b g: a lower bound of it
  std::int64_t pivots = 0;
  double gap() const { return cost - dual; }
};

/// min over plans P >= 0 with P 1 = a, P^T 1 = b of sum P_ij cost_ij (Kantorovich), exactly, by the
/// primal network simplex on strongly feasible trees (Cunningham, 1976).
///
/// Weights as check_transport takes them; the plan's sum is a's. Arcs are never stored: memory is
/// O(n + m) beside the costs. One thread: pivots follow each other. Throws Error(kUsage) also for
/// costs that are not finite.
TransportPlan solve_transport(const CostMatrix& cost, std::span<const double> a,
                              std::span<const double> b);

}  // namespace kiln
