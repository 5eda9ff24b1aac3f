#include "models/measures/frechet.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kRowsAtATime = 1024;  // of a distance matrix

/// C^(1/2) of a symmetric positive semi-definite matrix; eigenvalues that rounding made negative
/// count as 0.
at::Tensor square_root(const at::Tensor& c) {
  const auto [values, vectors] = at::linalg_eigh(c);
  return (vectors * values.clamp_min(0.0).sqrt()).mm(vectors.t());
}

/// Distance of each row of x to its k-th nearest other row. [N]
at::Tensor radius(const at::Tensor& x, std::int64_t k) {
  std::vector<at::Tensor> radii;
  for (std::int64_t begin = 0; begin < x.size(0); begin += kRowsAtATime) {
    const at::Tensor rows = x.narrow(0, begin, std::min(kRowsAtATime, x.size(0) - begin));
    radii.push_back(
        std::get<0>(at::cdist(rows, x).kthvalue(k + 1, 1)));  // the nearest row is the row itself
  }
  return at::cat(radii);
}

/// Share of `points` inside any ball around `centres`.
double share_covered(const at::Tensor& points, const at::Tensor& centres, const at::Tensor& radii) {
  std::int64_t inside = 0;
  for (std::int64_t begin = 0; begin < points.size(0); begin += kRowsAtATime) {
    const at::Tensor rows = points.narrow(0, begin, std::min(kRowsAtATime, points.size(0) - begin));
    inside += at::cdist(rows, centres).le(radii).any(1).sum().item<std::int64_t>();
  }
  return static_cast<double>(inside) / static_cast<double>(points.size(0));
}

}  // namespace

FeatureStatistics::FeatureStatistics(std::int64_t dim)
    : sum_(at::zeros({dim}, at::kDouble)), product_(at::zeros({dim, dim}, at::kDouble)) {}

FeatureStatistics::FeatureStatistics(at::Tensor mean, at::Tensor covariance, std::int64_t count)
    : shift_(mean.to(at::kDouble)),
      sum_(at::zeros_like(shift_)),
      product_(covariance.to(at::kDouble) * static_cast<double>(count - 1)),
      count_(count) {}

void FeatureStatistics::add(const at::Tensor& features) {
  const at::Tensor x = features.to(at::kCPU, at::kDouble);
  if (!shift_.defined()) shift_ = x.mean(0);
  const at::Tensor centred = x - shift_;
  sum_ += centred.sum(0);
  product_ += centred.t().mm(centred);
  count_ += x.size(0);
}

at::Tensor FeatureStatistics::mean() const {
  KILN_CHECK(count_ > 0, "statistics of no samples");
  return shift_ + sum_ / static_cast<double>(count_);
}

at::Tensor FeatureStatistics::covariance() const {
  KILN_CHECK(count_ > 1, "covariance of {} samples", count_);
  const double n = static_cast<double>(count_);
  return (product_ - at::outer(sum_, sum_) / n) / (n - 1.0);
}

double frechet_distance(const FeatureStatistics& a, const FeatureStatistics& b) {
  const at::Tensor ca = a.covariance(), cb = b.covariance();
  const at::Tensor root = square_root(ca);
  // (C1 C2)^(1/2) has the eigenvalues of (C1^(1/2) C2 C1^(1/2))^(1/2), which is symmetric.
  const at::Tensor product = root.mm(cb).mm(root);
  const at::Tensor eigenvalues = at::linalg_eigvalsh((product + product.t()) * 0.5);
  const at::Tensor cross = eigenvalues.clamp_min(0.0).sqrt().sum();
  const at::Tensor distance =
      (a.mean() - b.mean()).square().sum() + ca.trace() + cb.trace() - cross * 2.0;
  return distance.item<double>();
}

PrecisionRecall precision_recall(const at::Tensor& real, const at::Tensor& made,
                                 std::int64_t neighbours) {
  KILN_CHECK(real.size(0) > neighbours && made.size(0) > neighbours, "{} and {} samples",
             real.size(0), made.size(0));
  const at::Tensor x = real.to(at::kFloat), y = made.to(at::kFloat);
  return {share_covered(y, x, radius(x, neighbours)), share_covered(x, y, radius(y, neighbours))};
}

}  // namespace kiln
