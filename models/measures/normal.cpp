#include "models/measures/normal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Eigenvalues' function f of a symmetric matrix; rounding's negative eigenvalues count as 0.
template <typename Function>
at::Tensor apply(const at::Tensor& matrix, const Function& f) {
  const auto [values, vectors] = at::linalg_eigh(matrix);
  return (vectors * f(values.clamp_min(0.0))).mm(vectors.t());
}

at::Tensor symmetric(const at::Tensor& matrix) { return (matrix + matrix.t()) * 0.5; }

/// ln det; -infinity where it is singular.
double log_determinant(const at::Tensor& covariance) {
  const auto [sign, log_det] = at::linalg_slogdet(covariance);
  return sign.item<double>() > 0.0 ? log_det.item<double>() : -kInfinity;
}

double density(const LineNormal& p, double x) {
  const double z = (x - p.mean) / p.deviation;
  return std::exp(-0.5 * z * z) / (p.deviation * std::sqrt(2 * std::numbers::pi));
}

double cumulative(const LineNormal& p, double x) {
  if (std::isinf(x)) return x > 0 ? 1.0 : 0.0;
  return 0.5 * std::erfc(-(x - p.mean) / (p.deviation * std::numbers::sqrt2));
}

double plogp(double p, double m) { return p > 0.0 ? p * std::log(p / m) : 0.0; }

}  // namespace

Normal Normal::fit(const at::Tensor& rows, const at::Tensor& weights) {
  const at::Tensor x = rows.to(at::kCPU, at::kDouble);
  const at::Tensor w =
      weights.defined() ? weights / weights.sum()
                        : at::full({x.size(0)}, 1.0 / static_cast<double>(x.size(0)), at::kDouble);
  const at::Tensor mean = w.matmul(x), centred = x - mean;
  return {mean, centred.t().mm(centred * w.unsqueeze(1))};
}

double bures_squared(const Normal& p, const Normal& q) {
  const at::Tensor root = apply(p.covariance, [](const at::Tensor& v) { return v.sqrt(); });
  const at::Tensor product = symmetric(root.mm(q.covariance).mm(root));
  const at::Tensor cross = at::linalg_eigvalsh(product).clamp_min(0.0).sqrt().sum();
  const at::Tensor distance =
      (p.mean - q.mean).square().sum() + p.covariance.trace() + q.covariance.trace() - cross * 2.0;
  return distance.item<double>();
}

at::Tensor bures_map(const Normal& p, const Normal& q) {
  const auto root_of = [](const at::Tensor& v) { return v.sqrt(); };
  const at::Tensor root = apply(p.covariance, root_of);
  const at::Tensor inverse = apply(p.covariance, [](const at::Tensor& v) { return v.rsqrt(); });
  return inverse.mm(apply(symmetric(root.mm(q.covariance).mm(root)), root_of)).mm(inverse);
}

double kl_divergence(const Normal& p, const Normal& q) {
  const double log_p = log_determinant(p.covariance), log_q = log_determinant(q.covariance);
  if (log_p == -kInfinity) {
    throw usage_error("KL of a normal distribution whose covariance [{0}, {0}] is singular",
                      p.mean.size(0));
  }
  if (log_q == -kInfinity) return kInfinity;
  const at::Tensor shift = (q.mean - p.mean).unsqueeze(1);
  const at::Tensor solved = at::linalg_solve(q.covariance, at::cat({p.covariance, shift}, 1));
  const std::int64_t dim = p.mean.size(0);
  const double trace = solved.narrow(1, 0, dim).trace().item<double>();
  const double mahalanobis = (shift * solved.narrow(1, dim, 1)).sum().item<double>();
  return 0.5 * (trace + mahalanobis - static_cast<double>(dim) + log_q - log_p);
}

double hellinger_squared(const Normal& p, const Normal& q) {
  const at::Tensor middle = (p.covariance + q.covariance) * 0.5;
  const double log_m = log_determinant(middle);
  if (log_m == -kInfinity) return (p.mean - q.mean).abs().max().item<double>() == 0.0 ? 0.0 : 1.0;
  const at::Tensor shift = (p.mean - q.mean).unsqueeze(1);
  const double mahalanobis = (shift * at::linalg_solve(middle, shift)).sum().item<double>();
  const double log_affinity =
      0.25 * (log_determinant(p.covariance) + log_determinant(q.covariance)) - 0.5 * log_m -
      mahalanobis / 8.0;
  return -std::expm1(log_affinity);
}

double total_variation(const LineNormal& p, const LineNormal& q) {
  // ln p - ln q = a x^2 + b x + c
  const double ip = 1 / (p.deviation * p.deviation), iq = 1 / (q.deviation * q.deviation);
  const double a = 0.5 * (iq - ip), b = p.mean * ip - q.mean * iq;
  const double c =
      0.5 * (q.mean * q.mean * iq - p.mean * p.mean * ip) + std::log(q.deviation / p.deviation);
  std::array<double, 2> crossings = {kInfinity, kInfinity};
  if (a == 0.0) {
    if (b != 0.0) crossings[0] = -c / b;
  } else {
    const double root = std::sqrt(std::max(b * b - 4 * a * c, 0.0));
    const double larger = -0.5 * (b + std::copysign(root, b));
    crossings = {larger / a, larger == 0.0 ? 0.0 : c / larger};
    std::ranges::sort(crossings);
  }
  double sum = 0.0, before = 0.0;
  for (const double x : {crossings[0], crossings[1], kInfinity}) {
    const double difference = cumulative(p, x) - cumulative(q, x);
    sum += std::abs(difference - before);
    before = difference;
  }
  return 0.5 * sum;
}

double jensen_shannon(const LineNormal& p, const LineNormal& q) {
  constexpr double kReach = 12.0;  // deviations; what lies beyond is below 1e-30
  const double begin = std::min(p.mean - kReach * p.deviation, q.mean - kReach * q.deviation);
  const double end = std::max(p.mean + kReach * p.deviation, q.mean + kReach * q.deviation);
  const double finest = std::min(p.deviation, q.deviation) / 64;
  const auto steps = static_cast<std::int64_t>(std::clamp((end - begin) / finest, 1024.0, 1e7));
  const double step = (end - begin) / static_cast<double>(steps);
  double sum = 0.0;
  for (std::int64_t i = 0; i <= steps; ++i) {
    const double x = begin + step * static_cast<double>(i);
    const double dp = density(p, x), dq = density(q, x), m = 0.5 * (dp + dq);
    sum += 0.5 * (plogp(dp, m) + plogp(dq, m));
  }
  return sum * step;
}

double wasserstein_1(const LineNormal& p, const LineNormal& q) {
  const double m = std::abs(p.mean - q.mean), s = std::abs(p.deviation - q.deviation);
  if (s == 0.0) return m;
  return s * std::sqrt(2 / std::numbers::pi) * std::exp(-0.5 * m * m / (s * s)) +
         m * std::erf(m / (s * std::numbers::sqrt2));
}

}  // namespace kiln
