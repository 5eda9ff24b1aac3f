#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/torch.h"
#include "models/measures/histogram.h"
#include "models/measures/normal.h"
#include "models/measures/sample_distances.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

Normal line(double mean, double deviation) {
  return {at::full({1}, mean, at::kDouble), at::full({1, 1}, deviation * deviation, at::kDouble)};
}

double density(const LineNormal& p, double x) {
  const double z = (x - p.mean) / p.deviation;
  return std::exp(-0.5 * z * z) / (p.deviation * std::sqrt(2 * std::numbers::pi));
}

/// Of f(p(x), q(x)), by the midpoint rule.
double integral(const LineNormal& p, const LineNormal& q,
                const std::function<double(double, double)>& f) {
  constexpr double kStep = 1e-4, kReach = 30.0;
  double sum = 0.0;
  for (double x = -kReach + kStep / 2; x < kReach; x += kStep)
    sum += f(density(p, x), density(q, x));
  return sum * kStep;
}

TEST(NormalDivergences, HaveTheKnownValues) {
  EXPECT_NEAR(kl_divergence(line(0, 1), line(1, 2)), .4431471806, 1e-9);
  EXPECT_NEAR(total_variation({0, 1}, {2, 1}), .6826894921, 1e-9);
  EXPECT_NEAR(hellinger_squared(line(0, 1), line(2, 1)), .3934693403, 1e-9);
  EXPECT_NEAR(jensen_shannon({0, 1}, {2, 1}), .33683082, 1e-8);
  EXPECT_NEAR(wasserstein_1({0, 1}, {2, 1}), 2.0, 1e-12);
  EXPECT_NEAR(wasserstein_1({0, 1}, {1, 2}), 1.16663094, 1e-8);
}

TEST(NormalDivergences, EqualTheirIntegrals) {
  const std::vector<std::pair<LineNormal, LineNormal>> pairs = {
      {{0, 1}, {1, 2}}, {{-1, 0.5}, {0.7, 0.9}}, {{0, 1}, {0, 1.5}}};
  for (const auto& pair : pairs) {
    const LineNormal &p = pair.first, &q = pair.second;
    const Normal a = line(p.mean, p.deviation), b = line(q.mean, q.deviation);
    const auto of = [&](const auto& f) { return integral(p, q, f); };
    const auto relative = [](double x, double y) {
      return x > 0 && y > 0 ? x * std::log(x / y) : 0;
    };
    EXPECT_NEAR(kl_divergence(a, b), of(relative), 1e-6);
    EXPECT_NEAR(total_variation(p, q), of([](double x, double y) { return std::abs(x - y) / 2; }),
                1e-6);
    EXPECT_NEAR(hellinger_squared(a, b),
                1 - of([](double x, double y) { return std::sqrt(x * y); }), 1e-6);
    EXPECT_NEAR(jensen_shannon(p, q), of([&](double x, double y) {
                  const double m = (x + y) / 2;
                  return (relative(x, m) + relative(y, m)) / 2;
                }),
                1e-6);
  }
}

TEST(NormalDivergences, SayWhatSingularCovariancesMean) {
  const Normal flat{at::zeros({2}, at::kDouble), at::diag(at::tensor({1.0, 0.0}, at::kDouble))};
  const Normal full{at::zeros({2}, at::kDouble), at::eye(2, at::kDouble)};
  EXPECT_THROW(kl_divergence(flat, full), Error);
  EXPECT_EQ(kl_divergence(full, flat), std::numeric_limits<double>::infinity());
  EXPECT_NEAR(bures_squared(flat, full), 1.0, 1e-12);
}

TEST(BuresMap, CarriesOneCovarianceToTheOther) {
  const at::Tensor a = normal({3, 3}, 1, at::kDouble), b = normal({3, 3}, 2, at::kDouble);
  const Normal p{at::zeros({3}, at::kDouble), a.mm(a.t())},
      q{at::ones({3}, at::kDouble), b.mm(b.t())};
  const at::Tensor map = bures_map(p, q);
  EXPECT_TRUE(map.mm(p.covariance).mm(map.t()).allclose(q.covariance, 1e-9, 1e-9));
}

TEST(HistogramDivergences, AreInfiniteWhereASupportIsMissing) {
  const at::Tensor p = at::tensor({0.5, 0.5, 0.0}, at::kDouble),
                   q = at::tensor({1.0, 0.0, 1.0}, at::kDouble);
  const HistogramDivergences found = histogram_divergences(p, q);
  EXPECT_EQ(found.kl, std::numeric_limits<double>::infinity());
  EXPECT_EQ(found.chi_squared, std::numeric_limits<double>::infinity());
  EXPECT_NEAR(found.total_variation, 0.5, 1e-15);
  EXPECT_NEAR(found.hellinger_squared, 0.5, 1e-15);
  EXPECT_LT(found.jensen_shannon, std::log(2.0));
  EXPECT_THROW(histogram_divergences(p, at::ones({2}, at::kDouble)), Error);
  EXPECT_THROW(histogram_divergences(p - 1.0, q), Error);
}

TEST(Histogram, CountsBothEnds) {
  const at::Tensor x = at::tensor({0.0, 0.1, 0.5, 1.0, 1.0}, at::kDouble);
  EXPECT_TRUE(histogram(x, 0.0, 1.0, 2).equal(at::tensor({2.0, 3.0}, at::kDouble)));
}

TEST(SampleDistances, AreNearZeroForOneDistributionAndNotForTwo) {
  const at::Tensor x = normal({400, 3}, 1, at::kDouble), y = normal({300, 3}, 2, at::kDouble);
  const PointDistances same(x, y), other(x, y + 1.0);
  const double bandwidth = median_distance(same);
  EXPECT_NEAR(mmd_squared(same, bandwidth).unbiased, 0.0, 5e-3);
  EXPECT_GT(mmd_squared(other, bandwidth).unbiased, 0.1);
  EXPECT_NEAR(energy_distance(same).unbiased, 0.0, 2e-2);
  EXPECT_GT(energy_distance(other).unbiased, 0.5);
}

TEST(SampleDistances, WeightsCountAsRepeatedPoints) {
  const at::Tensor x = normal({6, 2}, 1, at::kDouble), y = normal({5, 2}, 2, at::kDouble);
  const at::Tensor twice = at::cat({x, x.narrow(0, 0, 1)});
  const at::Tensor weights = at::tensor({2.0, 1.0, 1.0, 1.0, 1.0, 1.0}, at::kDouble);
  EXPECT_NEAR(energy_distance(PointDistances(x, y), weights).biased,
              energy_distance(PointDistances(twice, y)).biased, 1e-12);
}

TEST(NearestKl, EstimatesTheDivergenceOfNormals) {
  const at::Tensor x = normal({3000, 2}, 1, at::kDouble);
  const at::Tensor y = normal({3000, 2}, 2, at::kDouble) + at::tensor({1.0, 0.0}, at::kDouble);
  const double estimate = nearest_kl_terms(PointDistances(x, y), 2, 5).mean().item<double>();
  EXPECT_NEAR(estimate, 0.5, 0.1);  // |shift|^2 / 2; the estimator's own spread is about 0.03
}

}  // namespace
}  // namespace kiln
