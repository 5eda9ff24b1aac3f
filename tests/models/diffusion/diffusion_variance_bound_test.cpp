#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "models/diffusion/variance_bound.h"

namespace kiln {
namespace {

const BetaSchedule kSchedule = make_beta_schedule("linear", 1e-4, 0.02, 1000);

at::Tensor scalar(double value) { return at::full({1, 1}, value, at::kDouble); }
at::Tensor step(std::int64_t t) { return at::full({1}, t, at::kLong); }

TEST(VarianceBound, LogVarianceRunsFromPosteriorToBeta) {
  const VarianceBound bound(kSchedule);
  EXPECT_NEAR(bound.log_variance(scalar(-1.0), step(300)).item<double>(),
              posterior_log_variance_clipped(kSchedule, 300), 1e-12);
  EXPECT_NEAR(bound.log_variance(scalar(1.0), step(300)).item<double>(),
              std::log(kSchedule.betas[300]), 1e-12);
}

TEST(VarianceBound, IsZeroForThePosteriorItself) {
  const VarianceBound bound(kSchedule);
  const at::Tensor bits = bound({scalar(0.4), scalar(-0.2), scalar(0.4), scalar(-1.0), step(300)});
  EXPECT_NEAR(bits.item<double>(), 0.0, 1e-14);
}

TEST(VarianceBound, IsTheKullbackLeiblerDivergenceOfTwoNormals) {
  const VarianceBound bound(kSchedule);
  const Posterior q = posterior(kSchedule.level(300), kSchedule.level(299));
  const double error = q.from_x0 * (0.4 - 0.1);
  const double beta = kSchedule.betas[300];
  const double kl = 0.5 * (std::log(beta / q.variance) + (q.variance + error * error) / beta - 1.0);
  const at::Tensor bits = bound({scalar(0.4), scalar(-0.2), scalar(0.1), scalar(1.0), step(300)});
  EXPECT_NEAR(bits.item<double>(), kl / std::numbers::ln2, 1e-10);
}

TEST(DiscretisedNormal, IsADistributionOverAllPixelValues) {
  const at::Tensor values = at::arange(256, at::kDouble) * (2.0 / 255.0) - 1.0;
  for (const double mean : {-1.3, 0.0, 0.999}) {
    for (const double std : {0.01, 0.3, 2.0}) {
      const at::Tensor log_prob = discretised_normal_log_prob(values, at::full_like(values, mean),
                                                              at::full_like(values, std::log(std)));
      EXPECT_NEAR(log_prob.exp().sum().item<double>(), 1.0, 1e-9) << mean << " " << std;
    }
  }
}

TEST(VarianceBound, AtStepZeroIsTheDecodersNegativeLogLikelihood) {
  const VarianceBound bound(kSchedule);
  const double x0 = 101.0 / 255.0, mean = 0.38;
  const at::Tensor bits = bound({scalar(x0), scalar(0.4), scalar(mean), scalar(-1.0), step(0)});
  const double log_std = 0.5 * posterior_log_variance_clipped(kSchedule, 0);
  const at::Tensor log_prob =
      discretised_normal_log_prob(scalar(x0), scalar(mean), scalar(log_std));
  EXPECT_NEAR(bits.item<double>(), -log_prob.item<double>() / std::numbers::ln2, 1e-10);
}

}  // namespace
}  // namespace kiln
