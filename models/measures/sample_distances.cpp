#include "models/measures/sample_distances.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

at::Tensor normalised(const at::Tensor& weights, std::int64_t count) {
  if (!weights.defined()) return at::full({count}, 1.0 / static_cast<double>(count), at::kDouble);
  return weights / weights.sum();
}

double form(const at::Tensor& a, const at::Tensor& matrix, const at::Tensor& b) {
  return a.matmul(matrix.matmul(b)).item<double>();
}

/// Means of h over pairs of the two samples; h(0) = `at_zero` on the diagonals.
SampleDistance statistic(const at::Tensor& h_xx, const at::Tensor& h_yy, const at::Tensor& h_xy,
                         double at_zero, double sign, const at::Tensor& weights_x,
                         const at::Tensor& weights_y) {
  const at::Tensor a = normalised(weights_x, h_xx.size(0)), b = normalised(weights_y, h_yy.size(0));
  const double within_x = form(a, h_xx, a), within_y = form(b, h_yy, b);
  const double between = form(a, h_xy, b);
  const double same_x = a.dot(a).item<double>(), same_y = b.dot(b).item<double>();
  SampleDistance result;
  result.biased = sign * (within_x + within_y - 2 * between);
  result.unbiased = sign * ((within_x - at_zero * same_x) / (1 - same_x) +
                            (within_y - at_zero * same_y) / (1 - same_y) - 2 * between);
  return result;
}

/// Distance of each row's k-th nearest column, `skip` nearest left out.
at::Tensor kth_nearest(const at::Tensor& distances, std::int64_t k, std::int64_t skip) {
  return std::get<0>(distances.kthvalue(k + skip, 1));
}

}  // namespace

PointDistances::PointDistances(const at::Tensor& x, const at::Tensor& y)
    : xx(at::cdist(x, x, 2.0, 2)), yy(at::cdist(y, y, 2.0, 2)), xy(at::cdist(x, y, 2.0, 2)) {}

SampleDistance mmd_squared(const PointDistances& distances, double bandwidth, const at::Tensor& a,
                           const at::Tensor& b) {
  if (!(bandwidth > 0.0)) throw usage_error("MMD's bandwidth is {}; it must be above 0", bandwidth);
  const auto kernel = [&](const at::Tensor& d) {
    return (d.square() * (-0.5 / (bandwidth * bandwidth))).exp();
  };
  return statistic(kernel(distances.xx), kernel(distances.yy), kernel(distances.xy), 1.0, 1.0, a,
                   b);
}

SampleDistance energy_distance(const PointDistances& distances, const at::Tensor& a,
                               const at::Tensor& b) {
  return statistic(distances.xx, distances.yy, distances.xy, 0.0, -1.0, a, b);
}

double median_distance(const PointDistances& distances) {
  const auto above = [](const at::Tensor& d) {
    return d.masked_select(at::ones_like(d, at::kBool).triu(1));
  };
  return at::cat({above(distances.xx), above(distances.yy), distances.xy.reshape({-1})})
      .median()
      .item<double>();
}

at::Tensor nearest_kl_terms(const PointDistances& distances, std::int64_t dim, std::int64_t k) {
  const std::int64_t n = distances.xx.size(0), m = distances.yy.size(0);
  KILN_CHECK(k >= 1 && k < n && k <= m, "the {}-th neighbour among {} and {} points", k, n, m);
  const at::Tensor own = kth_nearest(distances.xx, k, 1), other = kth_nearest(distances.xy, k, 0);
  const at::Tensor all = at::cat({own, other}), positive = all.masked_select(all.gt(0.0));
  if (positive.numel() == 0) return at::zeros({n}, at::kDouble);
  const double least = positive.min().item<double>();
  return (other.clamp_min(least) / own.clamp_min(least)).log() * static_cast<double>(dim) +
         std::log(static_cast<double>(m) / static_cast<double>(n - 1));
}

}  // namespace kiln
