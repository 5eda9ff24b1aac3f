#include "models/contrast/losses.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/torch.h"
#include "models/contrast/collapse.h"
#include "models/contrast/information.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

constexpr double kGolden = 1e-9;

at::Tensor table(std::vector<double> values, std::int64_t columns) {
  return at::tensor(values, at::kDouble).view({-1, columns});
}

/// The gradient of `loss` at x against central differences.
void expect_gradient(const std::function<at::Tensor(const at::Tensor&)>& loss,
                     const at::Tensor& at_x) {
  const at::Tensor x = at_x.clone().requires_grad_(true);
  loss(x).backward();
  const at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  at::Tensor moved = at_x.clone();
  double* values = moved.data_ptr<double>();
  const double* gradient = x.grad().data_ptr<double>();
  for (std::int64_t i = 0; i < moved.numel(); ++i) {
    const double value = values[i];
    values[i] = value + kStep;
    const double above = loss(moved).item<double>();
    values[i] = value - kStep;
    const double below = loss(moved).item<double>();
    values[i] = value;
    EXPECT_NEAR(gradient[i], (above - below) / (2.0 * kStep), 1e-6) << "element " << i;
  }
}

// By hand: (1 + (2 - 0.5)^2 + 0) / 6.
TEST(MarginLoss, OfPairsByHand) {
  const at::Tensor a = table({0, 0, 1, 1, 0, 3}, 2), b = table({0, 1, 1, 1.5, 4, 0}, 2);
  const at::Tensor is_positive = at::tensor({1, 0, 0}).to(at::kBool);
  EXPECT_NEAR(margin_loss(a, b, is_positive, 2.0).mean().item<double>(), 3.25 / 6.0, kGolden);
  expect_gradient([&](const at::Tensor& x) { return margin_loss(x, b, is_positive, 2.0).mean(); },
                  a);
}

TEST(MarginLoss, HasNoGradientBetweenEqualVectors) {
  const at::Tensor a = at::ones({1, 3}, at::kDouble).requires_grad_(true);
  margin_loss(a, at::ones({1, 3}, at::kDouble), at::zeros({1}, at::kBool), 1.0).sum().backward();
  EXPECT_TRUE(at::equal(a.grad(), at::zeros({1, 3}, at::kDouble)));
}

// One query whose products with key and negatives are 0.8 and 0.1, -0.2, 0.3.
TEST(InfoNce, OfGivenSimilarities) {
  const at::Tensor q = table({1, 0}, 2), k = table({0.8, 0.6}, 2);
  const at::Tensor queue = table({0.1, 0, -0.2, 0, 0.3, 0}, 2);
  const double expected =
      std::log1p(std::exp(-0.7 / 0.07) + std::exp(-1.0 / 0.07) + std::exp(-0.5 / 0.07));
  const QueueContrast found = info_nce_with_queue(q, k, queue, 0.07);
  EXPECT_NEAR(found.losses.item<double>(), expected, kGolden);
  EXPECT_NEAR(found.losses.item<double>(), 8.361654441e-4, kGolden);
  expect_gradient(
      [&](const at::Tensor& x) { return info_nce_with_queue(x, k, queue, 0.5).losses.sum(); }, q);
}

TEST(InfoNce, BothDirectionsAreThoseOfExchangedArguments) {
  const at::Tensor q = unit_rows(normal({5, 3}, 1, at::kDouble));
  const at::Tensor k = unit_rows(normal({5, 3}, 2, at::kDouble));
  const at::Tensor both = 0.5 * (info_nce_in_batch(q, k, 0.3) + info_nce_in_batch(k, q, 0.3));
  EXPECT_TRUE(at::allclose(symmetric_info_nce(q, k, 0.3), both, 1e-12, 1e-12));
  expect_gradient([&](const at::Tensor& x) { return symmetric_info_nce(x, k, 0.3).mean(); }, q);
}

TEST(NtXent, OfOrthonormalPairs) {
  const at::Tensor z = at::eye(4, at::kDouble).repeat({2, 1});
  EXPECT_NEAR(nt_xent(z, 0.5).mean().item<double>(), std::log1p(6.0 * std::exp(-2.0)), kGolden);
}

TEST(NtXent, OfSines) {
  const at::Tensor z = at::sin(0.7 * at::arange(30, at::kDouble) + 0.3).view({6, 5});
  EXPECT_NEAR(nt_xent(z, 0.1).mean().item<double>(), 13.007557117277777, kGolden);
  EXPECT_NEAR(nt_xent(z, 0.5).mean().item<double>(), 3.114462749189512, kGolden);
  expect_gradient([](const at::Tensor& x) { return nt_xent(x, 0.5).mean(); }, z);
}

TEST(MutualInformation, OfATableAndOfNormalVariables) {
  EXPECT_NEAR(mutual_information(table({.3, .1, .15, .45}, 2)).item<double>(), 0.12580366909, 1e-9);
  EXPECT_NEAR(gaussian_information(0.8), 0.51082562, 1e-8);
  EXPECT_NEAR(mutual_information(table({.5, 0, 0, .5}, 2)).item<double>(), std::log(2.0), 1e-12);
  expect_gradient([](const at::Tensor& p) { return mutual_information(p); },
                  table({.3, .1, .15, .45}, 2));
}

// The mean over 60 batches of 512 pairs; one batch has a deviation of 0.035.
TEST(MutualInformation, InfoNceWithTheBestCriticIsNearTheTruthAndBelowLogN) {
  constexpr std::int64_t kPairs = 512, kBatches = 60;
  double mean = 0.0;
  for (std::int64_t i = 0; i < kBatches; ++i) {
    const at::Tensor x = normal({kPairs}, 2 * i + 1, at::kDouble);
    const at::Tensor y = 0.8 * x + 0.6 * normal({kPairs}, 2 * i + 2, at::kDouble);
    const double bound = info_nce_bound(gaussian_critic(x, y, 0.8)).item<double>();
    EXPECT_LE(bound, std::log(static_cast<double>(kPairs)));
    mean += bound / kBatches;
  }
  EXPECT_NEAR(mean, 0.511, 0.03);
  // Even where there is more to know, no estimate exceeds ln N.
  const at::Tensor x = normal({8}, 3, at::kDouble);
  EXPECT_LE(info_nce_bound(gaussian_critic(x, x, 0.999999)).item<double>(), std::log(8.0) + 1e-12);
}

TEST(Collapse, ShowsInDeviationAndRank) {
  const at::Tensor spread = normal({4000, 6}, 1, at::kDouble);
  EXPECT_NEAR(feature_deviation(spread).item<double>(), 1.0, 0.02);
  EXPECT_NEAR(effective_rank(spread).item<double>(), 6.0, 0.02);
  const at::Tensor same = at::ones({50, 6}, at::kDouble);
  EXPECT_NEAR(feature_deviation(same).item<double>(), 0.0, 1e-9);
  EXPECT_NEAR(effective_rank(same).item<double>(), 1.0, 0.01);
  EXPECT_NEAR(mean_entropy(at::full({3, 8}, 0.125, at::kDouble)).item<double>(), std::log(8.0),
              1e-12);
}

}  // namespace
}  // namespace kiln
