#pragma once

#include <span>

namespace kiln {

/// Weighted points on a line; weights are not negative and each side's add up to the same.
struct LinePoints {
  std::span<const double> x;
  std::span<const double> weights;  // empty: equal ones that add up to 1
};

/// W_p^p = integral over u in (0, 1) of |F^-1(u) - G^-1(u)|^p, by sorting; p >= 1. The optimal cost
/// of |x - y|^p, exactly.
double line_transport(const LinePoints& a, const LinePoints& b, double p);

/// 2 E|X - Y| - E|X - X'| - E|Y - Y'| = 2 integral of (F - G)^2 (Szekely and Rizzo), by sorting.
double line_energy_distance(const LinePoints& a, const LinePoints& b);

}  // namespace kiln
