#include "models/measures/mixture.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/base/error.h"
#include "core/torch.h"
#include "models/measures/density.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

/// .3 N(-2, .3^2) + .7 N(2, .3^2)
Mixture two_modes() {
  return {.weights = at::tensor({0.3, 0.7}, at::kDouble),
          .means = at::tensor({-2.0, 2.0}, at::kDouble).view({2, 1}),
          .covariances = at::full({2, 1, 1}, 0.09, at::kDouble)};
}

TEST(Mixture, FitsClustersAndItsLikelihoodNeverFalls) {
  const at::Tensor x = at::cat(
      {normal({300, 2}, 1, at::kDouble) * 0.3 - 2.0, normal({700, 2}, 2, at::kDouble) * 0.3 + 2.0});
  const EmFit fit = fit_mixture(x, {.components = 2});
  EXPECT_TRUE(fit.has_converged);
  for (std::size_t i = 1; i < fit.log_likelihoods.size(); ++i) {
    EXPECT_GE(fit.log_likelihoods[i], fit.log_likelihoods[i - 1] - 1e-9);
  }
  const at::Tensor weights = std::get<0>(fit.mixture.weights.sort());
  EXPECT_NEAR(weights[0].item<double>(), 0.3, 1e-6);  // the clusters are apart
  EXPECT_NEAR(weights[1].item<double>(), 0.7, 1e-6);
}

TEST(Mixture, DoesNotFallWithManyOverlappingComponents) {
  const at::Tensor x = normal({400, 3}, 5, at::kDouble);
  const EmFit fit = fit_mixture(x, {.components = 7, .max_iterations = 60, .attempts = 1});
  for (std::size_t i = 1; i < fit.log_likelihoods.size(); ++i) {
    EXPECT_GE(fit.log_likelihoods[i], fit.log_likelihoods[i - 1] - 1e-5);  // the ridge's share
  }
}

TEST(Mixture, OfOneComponentIsTheMostLikelyNormal) {
  const at::Tensor x = normal({200, 2}, 3, at::kDouble) * 2.0 + 1.0;
  const EmFit fit = fit_mixture(x, {.components = 1, .ridge = 0.0, .attempts = 1});
  const Normal normal = Normal::fit(x);
  EXPECT_TRUE(fit.mixture.means[0].allclose(normal.mean, 1e-12, 1e-12));
  EXPECT_TRUE(fit.mixture.covariances[0].allclose(normal.covariance, 1e-10, 1e-12));
}

TEST(Mixture, RefusesMoreComponentsThanPoints) {
  EXPECT_THROW(fit_mixture(normal({3, 2}, 1, at::kDouble), {.components = 4}), Error);
}

TEST(KlFits, ForwardCoversAndReverseChooses) {
  const Mixture target = two_modes();
  const Normal forward = moments(target);
  EXPECT_NEAR(forward.mean.item<double>(), 0.8, 1e-12);
  EXPECT_NEAR(forward.covariance.item<double>(), 3.45, 1e-12);
  const ReverseFit reverse = fit_reverse_kl(target, forward, 0);
  EXPECT_NEAR(reverse.normal.mean.item<double>(), 2.0, 0.02);
  EXPECT_NEAR(std::sqrt(reverse.normal.covariance.item<double>()), 0.3, 0.02);
  EXPECT_NEAR(reverse.kl, 0.35667, 0.02);  // -ln .7
}

TEST(KernelDensity, IntegratesToOne) {
  const at::Tensor data = normal({30, 1}, 1, at::kDouble);
  const at::Tensor grid = at::arange(-12.0, 12.0, 0.01, at::kDouble).unsqueeze(1);
  for (const DensityKernel kernel : {DensityKernel::kGaussian, DensityKernel::kEpanechnikov}) {
    const at::Tensor density = kernel_log_density(data, grid, 0.4, kernel).exp();
    EXPECT_NEAR(density.sum().item<double>() * 0.01, 1.0, 1e-3);
  }
}

TEST(KernelDensity, LeavesOutThePointItself) {
  const at::Tensor data = normal({20, 2}, 1, at::kDouble);
  const at::Tensor left_out =
      kernel_log_density(data, data, 0.5, DensityKernel::kGaussian, /*leave_out_self=*/true);
  const at::Tensor others = data.narrow(0, 1, 19);
  EXPECT_NEAR(left_out[0].item<double>(),
              kernel_log_density(others, data.narrow(0, 0, 1), 0.5).item<double>(), 1e-12);
}

TEST(NeighbourDensity, CountsTheBall) {
  const at::Tensor data = at::tensor({0.0, 1.0, 3.0, 7.0}, at::kDouble).unsqueeze(1);
  const NeighbourDensity found = neighbour_density(data, at::zeros({1, 1}, at::kDouble), 3);
  EXPECT_EQ(found.radius.item<double>(), 3.0);
  EXPECT_NEAR(found.log_density.item<double>(), std::log(3.0 / (4 * 2 * 3.0)), 1e-14);
  EXPECT_THROW(neighbour_density(data, data, 5), Error);
}

}  // namespace
}  // namespace kiln
