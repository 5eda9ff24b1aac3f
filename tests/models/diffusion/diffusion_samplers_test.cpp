#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "core/base/error.h"
#include "models/diffusion/samplers.h"

namespace kiln {
namespace {

std::unique_ptr<Formulation> formulation(const std::string& name) {
  FormulationOptions options;
  options.formulation = name;
  if (name == "score") options.sigma_min = 0.05, options.sigma_max = 4.0;
  return make_formulation(options);
}

/// E[x0 | x] and E[n | x] for data N(mean, variance), finite for clean x too.
Estimate normal_estimate(const at::Tensor& x, const at::Tensor& mean, double variance,
                         const NoiseLevel& level) {
  const auto [a, b] = level;
  const at::Tensor weighted = (x - mean * a) / (a * a * variance + b * b);
  return {mean + weighted * (a * variance), weighted * b, std::nullopt};
}

/// Exact denoiser for data N(1, .25).
Estimate gaussian_denoiser(const at::Tensor& x, const Node& node) {
  return normal_estimate(x, at::ones({1}, x.options()), 0.25, node.level);
}

double sample_from(const std::string& name, const std::string& sampler, std::int64_t steps,
                   double noise) {
  SamplerOptions options;
  options.sampler = sampler;
  options.steps = steps;
  const auto start = [noise](std::int64_t) { return at::full({1}, noise, at::kDouble); };
  return sample(options, *formulation(name), gaussian_denoiser, start).item<double>();
}

TEST(FlowEuler, HasThePublishedErrors) {
  EXPECT_NEAR(sample_from("flow", "flow_euler", 10, 1.5), 1.6461739, 5e-8);
  EXPECT_NEAR(sample_from("flow", "flow_euler", 100, 1.5), 1.7389682, 5e-8);
  EXPECT_NEAR(sample_from("flow", "flow_euler", 1000, 1.5), 1.7488895, 5e-8);
}

TEST(FlowHeun, HasThePublishedErrors) {
  EXPECT_NEAR(sample_from("flow", "flow_heun", 10, 1.5), 1.7525799, 5e-8);
  EXPECT_NEAR(sample_from("flow", "flow_heun", 100, 1.5), 1.7500342, 5e-8);
}

TEST(EdmHeun, HasThePublishedErrors) {
  EXPECT_NEAR(sample_from("edm", "heun", 18, 1.5), 1.7848416, 5e-8);
  EXPECT_NEAR(sample_from("edm", "heun", 40, 1.5), 1.7510043, 5e-8);
  EXPECT_NEAR(sample_from("edm", "heun", 256, 1.5), 1.7438919, 5e-8);
}

TEST(EdmEuler, HasThePublishedError) {
  EXPECT_NEAR(sample_from("edm", "euler", 18, 1.5), 1.6292593, 5e-8);
}

TEST(DpmSolver, IsOfSecondOrder) {
  constexpr double kExact = 1.7437355;  // 1 + .5 (120 - 1) / sqrt(80^2 + .25)
  const double coarse = std::abs(sample_from("edm", "dpm_solver", 20, 1.5) - kExact);
  const double fine = std::abs(sample_from("edm", "dpm_solver", 80, 1.5) - kExact);
  EXPECT_LT(fine, coarse / 10.0);
}

TEST(Ddim, WithEtaOneDrawsFromThePosterior) {
  const auto ddpm = formulation("ddpm");
  const NoiseLevel level = ddpm->level(500), cleaner = ddpm->level(480);
  const at::Tensor x = at::tensor({0.3, -1.2}, at::kDouble),
                   z = at::tensor({0.7, 0.1}, at::kDouble);
  const Estimate estimate = gaussian_denoiser(x, {500, level});
  const at::Tensor ancestral = ddpm_step(x, estimate, level, cleaner, "fixed_small", z);
  const at::Tensor implicit = ddim_step(estimate, level, cleaner, 1.0, z);
  EXPECT_LT((ancestral - implicit).abs().max().item<double>(), 1e-14);
}

TEST(Ddpm, LearnedVarianceRunsFromPosteriorToBeta) {
  const auto ddpm = formulation("ddpm");
  const NoiseLevel level = ddpm->level(500), cleaner = ddpm->level(480);
  const at::Tensor x = at::tensor({0.3}, at::kDouble), z = at::tensor({0.7}, at::kDouble);
  Estimate estimate = gaussian_denoiser(x, {500, level});
  const auto learned = [&](double fraction) {
    estimate.variance_fraction = at::full({1}, fraction, at::kDouble);
    return ddpm_step(x, estimate, level, cleaner, "learned", z).item<double>();
  };
  const auto fixed = [&](const char* name) {
    return ddpm_step(x, estimate, level, cleaner, name, z).item<double>();
  };
  EXPECT_NEAR(learned(0.0), fixed("fixed_small"), 1e-14);
  EXPECT_NEAR(learned(1.0), fixed("fixed_large"), 1e-14);
}

TEST(Checked, RefusesSamplersThatDoNotSuitTheFormulation) {
  const auto refused = [](const char* name, auto change) {
    SamplerOptions options;
    change(options);
    EXPECT_THROW(checked(options, *formulation(name)), Error);
  };
  refused("flow", [](auto& o) { o.sampler = "ddpm"; });
  refused("ddpm", [](auto& o) { o.sampler = "flow_euler"; });
  refused("ddpm", [](auto& o) { o.sampler = "ddpm", o.variance = "learned"; });
  refused("edm", [](auto& o) { o.sampler = "euler", o.churn = 40.0; });
  refused("ddpm", [](auto& o) { o.steps = 0; });
  EXPECT_EQ(checked({}, *formulation("edm")).sampler, "heun");
}

// --- A known mixture: .3 N(-2, .3^2) + .7 N(2, .3^2) ---------------------------------------------

constexpr double kWeight = 0.3, kMode = 2.0, kWidth = 0.3;
constexpr std::int64_t kSamples = 50'000;

Estimate mixture_denoiser(const at::Tensor& x, const Node& node) {
  const auto [a, b] = node.level;
  const double variance = a * a * kWidth * kWidth + b * b;
  // ln of the odds of the left mode: squares that both share cancel.
  const at::Tensor odds = x * (-2.0 * a * kMode / variance) + std::log(kWeight / (1.0 - kWeight));
  const at::Tensor mode = at::sigmoid(odds) * (-2.0 * kMode) + kMode;
  return normal_estimate(x, mode, kWidth * kWidth, node.level);
}

at::Tensor normal_noise(std::int64_t draw) {
  at::Tensor z = at::empty({kSamples}, at::kFloat);
  fill_normal(Philox(5, Purpose::kSampling, draw), z.data_ptr<float>(), kSamples);
  return z.to(at::kDouble);
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double mixture_cdf(double x) {
  return kWeight * normal_cdf((x + kMode) / kWidth) +
         (1.0 - kWeight) * normal_cdf((x - kMode) / kWidth);
}
double mixture_quantile(double p) {
  double low = -6.0, high = 6.0;
  for (int i = 0; i < 50; ++i) {
    const double middle = 0.5 * (low + high);
    (mixture_cdf(middle) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

void expect_mixture(const std::string& name, const SamplerOptions& options, double largest_w1) {
  at::set_num_threads(1);  // vectors this short gain nothing from waking threads 10,000 times
  const at::Tensor x = sample(options, *formulation(name), mixture_denoiser, normal_noise);
  const at::Tensor sorted = std::get<0>(x.sort());
  const double* values = sorted.data_ptr<double>();
  double w1 = 0.0;
  for (std::int64_t i = 0; i < kSamples; ++i) {
    const double p = (static_cast<double>(i) + 0.5) / static_cast<double>(kSamples);
    w1 += std::abs(values[i] - mixture_quantile(p)) / static_cast<double>(kSamples);
  }
  EXPECT_LE(w1, largest_w1);
  EXPECT_NEAR(x.lt(0.0).to(at::kDouble).mean().item<double>(), kWeight, 0.01);
}

SamplerOptions options_for(const std::string& sampler, std::int64_t steps, double eta = 0.0) {
  SamplerOptions options;
  options.sampler = sampler;
  options.steps = steps;
  options.eta = eta;
  return options;
}

TEST(Mixture, IsRecoveredByDdpm) { expect_mixture("ddpm", options_for("ddpm", 1000), 0.03); }
TEST(Mixture, IsRecoveredByDdim) { expect_mixture("ddpm", options_for("ddim", 250), 0.03); }
TEST(Mixture, IsRecoveredByDdimWithNoise) {
  expect_mixture("ddpm", options_for("ddim", 250, 1.0), 0.03);
}
TEST(Mixture, IsRecoveredByEdmHeun) { expect_mixture("edm", options_for("heun", 40), 0.03); }
TEST(Mixture, IsRecoveredByEdmHeunWithChurn) {
  SamplerOptions options = options_for("heun", 80);
  options.churn = 20.0;
  options.churn_min = 0.05;
  options.churn_max = 50.0;
  expect_mixture("edm", options, 0.03);
}
TEST(Mixture, IsRecoveredByFlowEuler) {
  expect_mixture("flow", options_for("flow_euler", 250), 0.03);
}
TEST(Mixture, IsRecoveredByFlowHeun) { expect_mixture("flow", options_for("flow_heun", 60), 0.03); }
TEST(Mixture, IsRecoveredByDpmSolver) {
  expect_mixture("ddpm", options_for("dpm_solver", 100), 0.03);
}
TEST(Mixture, IsRecoveredByAnnealedLangevin) {
  SamplerOptions options = options_for("langevin", 30);
  options.langevin_steps = 80;
  expect_mixture("score", options, 0.08);
}

}  // namespace
}  // namespace kiln
