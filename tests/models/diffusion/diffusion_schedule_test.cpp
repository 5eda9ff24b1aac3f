#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "models/diffusion/schedule.h"

namespace kiln {
namespace {

constexpr double kPower = 0.25;  // variance s^2 of Gaussian data

double entropy_of_data() {
  return 0.5 * std::log(2.0 * std::numbers::pi * std::numbers::e * kPower);
}

/// E (x0 - E[x0 | x])^2 for data N(0, s^2).
double least_error(const NoiseLevel& level) {
  const double noise2 = level.noise * level.noise;
  return kPower * noise2 / (level.signal * level.signal * kPower + noise2);
}

/// Negative variational bound, nats per dimension, of the model that predicts E[x0 | x] exactly and
/// steps with beta's variance.
double variational_bound(const BetaSchedule& schedule) {
  const NoiseLevel last = schedule.level(schedule.size() - 1);
  const double variance = last.noise * last.noise;
  double bound = 0.5 * (last.signal * last.signal * kPower + variance - 1.0 - std::log(variance));
  for (std::int64_t t = 1; t < schedule.size(); ++t) {
    const Posterior q = posterior(schedule.level(t), schedule.level(t - 1));
    const double error = q.from_x0 * q.from_x0 * least_error(schedule.level(t));
    bound += 0.5 * (std::log(q.transition_variance / q.variance) +
                    (q.variance + error) / q.transition_variance - 1.0);
  }
  const double first = schedule.betas.front();
  return bound +
         0.5 * (std::log(2.0 * std::numbers::pi * first) + least_error(schedule.level(0)) / first);
}

TEST(BetaSchedule, LinearHasThePublishedTable) {
  const BetaSchedule schedule = make_beta_schedule("linear", 1e-4, 0.02, 1000);
  EXPECT_NEAR(schedule.alphas_cumprod[0], 0.9999, 1e-15);
  EXPECT_NEAR(schedule.alphas_cumprod[499], 0.07858724, 5e-9);
  EXPECT_NEAR(schedule.alphas_cumprod[999], 4.0358298e-5, 5e-13);
  EXPECT_NEAR(posterior(schedule.level(1), schedule.level(0)).variance, 5.453188e-5, 5e-12);
}

TEST(BetaSchedule, LinearIsExactToTwelveDigits) {
  const BetaSchedule schedule = make_beta_schedule("linear", 1e-4, 0.02, 1000);
  long double product = 1.0L;
  for (int t = 0; t < 1000; ++t) {
    const long double beta = 1e-4L + (0.02L - 1e-4L) * static_cast<long double>(t) / 999.0L;
    product *= 1.0L - beta;
    const auto i = static_cast<std::size_t>(t);
    ASSERT_NEAR(schedule.betas[i], static_cast<double>(beta), 1e-12);
    ASSERT_NEAR(schedule.alphas_cumprod[i], static_cast<double>(product), 1e-12);
  }
}

TEST(BetaSchedule, ScaledLinearHasThePublishedEnds) {
  const auto last = [](double start, double end) {
    return make_beta_schedule("scaled_linear", start, end, 1000).alphas_cumprod.back();
  };
  EXPECT_NEAR(last(0.0015, 0.0195), 1.42304e-4, 5e-10);
  EXPECT_NEAR(last(0.0015, 0.0155), 6.68665e-4, 5e-10);
  EXPECT_NEAR(last(0.00085, 0.012), 4.6600985e-3, 5e-11);
}

TEST(BetaSchedule, CosineHasThePublishedTable) {
  const BetaSchedule schedule = make_beta_schedule("cosine", 0, 0, 1000);
  EXPECT_NEAR(schedule.betas[0], 4.128422e-5, 5e-12);
  EXPECT_NEAR(schedule.alphas_cumprod[499], 0.4938436, 5e-8);
  EXPECT_EQ(schedule.betas[999], 0.999);
}

TEST(BetaSchedule, ZeroTerminalSnrEndsInPureNoiseAndKeepsTheFirstStep) {
  const BetaSchedule plain = make_beta_schedule("scaled_linear", 0.00085, 0.012, 1000);
  const BetaSchedule rescaled = with_zero_terminal_snr(plain);
  EXPECT_EQ(rescaled.alphas_cumprod.back(), 0.0);
  EXPECT_NEAR(rescaled.alphas_cumprod.front(), plain.alphas_cumprod.front(), 1e-15);
}

TEST(BetaSchedule, RefusesUnknownNamesAndImpossibleEnds) {
  EXPECT_THROW(make_beta_schedule("lineer", 1e-4, 0.02, 1000), Error);
  EXPECT_THROW(make_beta_schedule("linear", 0.02, 1e-4, 1000), Error);
  EXPECT_THROW(make_beta_schedule("linear", 1e-4, 1.0, 1000), Error);
  EXPECT_THROW(make_beta_schedule("linear", 1e-4, 0.02, 0), Error);
}

TEST(Posterior, HasThePublishedValue) {
  const BetaSchedule schedule = make_beta_schedule("linear", 1e-4, 0.02, 1000);
  const Posterior q = posterior(schedule.level(500), schedule.level(499));
  EXPECT_NEAR(q.from_x0 * 0.7 + q.from_x * -0.3, -0.2960906652740769, 1e-12);
  EXPECT_NEAR(q.variance, 0.010051335778909593, 1e-12);
}

TEST(Posterior, IsTheProductOfPriorAndTransition) {
  const BetaSchedule schedule = make_beta_schedule("scaled_linear", 0.00085, 0.012, 1000);
  for (int k = 0; k < 100; ++k) {
    const std::int64_t t = 1 + (k * 37) % 999;
    const double x0 = std::sin(1.7 * k), x = 2.0 * std::cos(0.9 * k);
    const double beta = schedule.betas[static_cast<std::size_t>(t)];
    const NoiseLevel before = schedule.level(t - 1);
    // Normal densities in x': N(x'; a' x0, b'^2) and N(x; sqrt(1 - beta) x', beta).
    const double precision = 1.0 / (before.noise * before.noise) + (1.0 - beta) / beta;
    const double mean =
        (before.signal * x0 / (before.noise * before.noise) + std::sqrt(1.0 - beta) * x / beta) /
        precision;
    const Posterior q = posterior(schedule.level(t), before);
    ASSERT_NEAR(q.from_x0 * x0 + q.from_x * x, mean, 1e-12);
    ASSERT_NEAR(q.variance, 1.0 / precision, 1e-12);
    ASSERT_NEAR(q.transition_variance, beta, 1e-12);
  }
}

TEST(Posterior, LogVarianceOfTheFirstStepIsThatOfTheSecond) {
  const BetaSchedule schedule = make_beta_schedule("linear", 1e-4, 0.02, 1000);
  EXPECT_EQ(posterior_log_variance_clipped(schedule, 0),
            posterior_log_variance_clipped(schedule, 1));
  EXPECT_NEAR(posterior_log_variance_clipped(schedule, 1), std::log(5.453188e-5), 1e-6);
}

TEST(VariationalBound, OfTheOptimalModelIsJustAboveTheEntropy) {
  const double bound = variational_bound(make_beta_schedule("linear", 1e-4, 0.02, 1000));
  EXPECT_GE(bound, entropy_of_data());
  EXPECT_LE(bound, entropy_of_data() * 1.01);
}

}  // namespace
}  // namespace kiln
