#include "models/measures/histogram.h"

#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

at::Tensor normalised(const at::Tensor& masses, const char* name) {
  const at::Tensor p = masses.reshape({-1}).to(at::kCPU, at::kDouble).contiguous();
  const double sum = p.sum().item<double>();
  if (!(p.ge(0.0).all().item<bool>() && sum > 0.0 && std::isfinite(sum))) {
    throw usage_error("histogram {}: masses must be finite, not negative and have a sum above 0",
                      name);
  }
  return p / sum;
}

/// p ln(p / q)
double relative(double p, double q) {
  if (p == 0.0) return 0.0;
  return q == 0.0 ? std::numeric_limits<double>::infinity() : p * std::log(p / q);
}

}  // namespace

HistogramDivergences histogram_divergences(const at::Tensor& first, const at::Tensor& second) {
  if (first.sizes() != second.sizes()) {
    throw usage_error("histograms of {} and {} cells cannot be compared", first.numel(),
                      second.numel());
  }
  const at::Tensor p = normalised(first, "p"), q = normalised(second, "q");
  HistogramDivergences result;
  double affinity = 0.0;
  for (std::int64_t i = 0; i < p.numel(); ++i) {
    const double a = p.const_data_ptr<double>()[i], b = q.const_data_ptr<double>()[i];
    const double m = 0.5 * (a + b);
    result.kl += relative(a, b);
    result.kl_reverse += relative(b, a);
    result.jensen_shannon += 0.5 * (relative(a, m) + relative(b, m));
    result.total_variation += 0.5 * std::abs(a - b);
    affinity += std::sqrt(a * b);
    if (a != b) result.chi_squared += (a - b) * (a - b) / b;
  }
  result.hellinger_squared = 1.0 - affinity;
  return result;
}

at::Tensor histogram(const at::Tensor& x, double low, double high, std::int64_t bins,
                     const at::Tensor& weights) {
  KILN_CHECK(bins > 0 && high >= low, "{} cells from {} to {}", bins, low, high);
  const double width = high > low ? (high - low) / static_cast<double>(bins) : 1.0;
  const at::Tensor cells =
      ((x.to(at::kDouble) - low) / width).floor().clamp(0, static_cast<double>(bins - 1));
  return at::bincount(cells.to(at::kLong),
                      weights.defined() ? weights : at::ones({x.size(0)}, at::kDouble), bins);
}

}  // namespace kiln
