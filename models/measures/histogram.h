#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kiln {

/// Divergences of two discrete distributions on the same cells, in nats where logarithms occur.
struct HistogramDivergences {
  double kl = 0.0;                 // sum p ln(p / q); infinite where q lacks what p has
  double kl_reverse = 0.0;         // sum q ln(q / p)
  double jensen_shannon = 0.0;     // (KL(p | m) + KL(q | m)) / 2, m = (p + q) / 2; at most ln 2
  double total_variation = 0.0;    // sum |p - q| / 2
  double hellinger_squared = 0.0;  // 1 - sum sqrt(p q)
  double chi_squared = 0.0;        // sum (p - q)^2 / q (Pearson); infinite likewise
};

/// `p` and `q` hold masses of one shape, normalised here. Throws Error(kUsage) for negative masses,
/// for a sum that is not above 0, and for unequal shapes.
HistogramDivergences histogram_divergences(const at::Tensor& p, const at::Tensor& q);

/// Masses of the values x [N] in `bins` equal cells of [low, high], the ends included in the outer
/// ones; values beyond count there too. `weights` [N]: undefined for equal. [bins] double.
at::Tensor histogram(const at::Tensor& x, double low, double high, std::int64_t bins,
                     const at::Tensor& weights = {});

}  // namespace kiln
