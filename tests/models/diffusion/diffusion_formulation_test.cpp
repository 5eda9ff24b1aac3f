#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "models/diffusion/formulation.h"

namespace kiln {
namespace {

std::unique_ptr<Formulation> formulation(const std::string& name,
                                         const std::string& prediction = "epsilon") {
  FormulationOptions options;
  options.formulation = name;
  options.prediction = prediction;
  return make_formulation(options);
}

/// Weighted loss in F of the estimator D* = E[x0 | x] for data N(0, s^2).
double optimal_loss(const Formulation& f, double time, double power) {
  const NoiseLevel level = f.level(time);
  const double noise2 = level.noise * level.noise;
  const double error = power * noise2 / (level.signal * level.signal * power + noise2);
  const double f_per_x0 = 1.0 / invert(level, f.target(level)).x0_from_f;
  return f.weight(level) * error * f_per_x0 * f_per_x0;
}

TEST(Inversion, ReturnsDataAndNoiseForEveryTarget) {
  for (const auto& f : {formulation("ddpm"), formulation("ddpm", "x0"), formulation("ddpm", "v"),
                        formulation("edm"), formulation("flow"), formulation("score")}) {
    for (const double time : {0.01, 0.3, 0.97}) {
      const bool is_discrete = f->chain() != nullptr;
      const NoiseLevel level = f->level(is_discrete ? std::floor(time * 1000.0) : time);
      const Target target = f->target(level);
      const double x0 = 0.83, n = -1.4;
      const double x = level.signal * x0 + level.noise * n;
      const double value = target.data * x0 + target.noise * n;
      const Inversion back = invert(level, target);
      EXPECT_NEAR(back.x0_from_x * x + back.x0_from_f * value, x0, 1e-10);
      EXPECT_NEAR(back.n_from_x * x + back.n_from_f * value, n, 1e-10);
    }
  }
}

TEST(Inversion, AgreesWithThePublishedConversions) {
  const auto ddpm = formulation("ddpm", "v");
  const NoiseLevel level = ddpm->level(400);
  const Inversion v = invert(level, ddpm->target(level));  // x0 = a x - b v, n = b x + a v
  EXPECT_NEAR(v.x0_from_x, level.signal, 1e-12);
  EXPECT_NEAR(v.x0_from_f, -level.noise, 1e-12);
  EXPECT_NEAR(v.n_from_x, level.noise, 1e-12);
  EXPECT_NEAR(v.n_from_f, level.signal, 1e-12);
  const Inversion flow = invert({0.7, 0.3}, velocity_target());  // x0 = x - t v, n = x + (1 - t) v
  EXPECT_NEAR(flow.x0_from_x, 1.0, 1e-12);
  EXPECT_NEAR(flow.x0_from_f, -0.3, 1e-12);
  EXPECT_NEAR(flow.n_from_x, 1.0, 1e-12);
  EXPECT_NEAR(flow.n_from_f, 0.7, 1e-12);
}

TEST(Edm, HasThePublishedPreconditioning) {
  const auto edm = formulation("edm");
  const NoiseLevel level = edm->level(0.5);
  const Inversion back = invert(level, edm->target(level));
  EXPECT_NEAR(back.x0_from_x, 0.5, 1e-12);                           // c_skip
  EXPECT_NEAR(back.x0_from_f, 0.5 * std::sqrt(0.5), 1e-12);          // c_out = .35355339
  EXPECT_NEAR(edm->input_scale(level), std::sqrt(2.0), 1e-12);       // c_in
  EXPECT_NEAR(edm->network_time(0.5), 0.25 * std::log(0.5), 1e-12);  // c_noise = -.17328680
}

TEST(Edm, WeightIsOneInTheNetworksOwnTarget) {
  FormulationOptions options;
  options.formulation = "edm";
  options.weighting = "edm";
  const auto edm = make_formulation(options);
  for (const double sigma : {0.002, 0.5, 80.0}) EXPECT_NEAR(edm->weight({1.0, sigma}), 1.0, 1e-12);
}

TEST(Edm, OptimalNetworkIsZeroAndLossOneForGaussianDataOfItsOwnWidth) {
  const auto edm = formulation("edm");
  for (const double sigma : {0.01, 0.5, 20.0}) {
    EXPECT_NEAR(optimal_loss(*edm, sigma, 0.25), 1.0, 1e-12);
    const Inversion back = invert({1.0, sigma}, edm->target({1.0, sigma}));
    EXPECT_NEAR(back.x0_from_x, 0.25 / (0.25 + sigma * sigma), 1e-12);  // F = 0 is Wiener's filter
  }
  // F = 0 for data of variance 1: target variance data^2 + noise^2 = 2.5 at sigma = .5.
  const Target target = edm->target({1.0, 0.5});
  EXPECT_NEAR(target.data * target.data + target.noise * target.noise, 2.5, 1e-12);
}

TEST(Ddpm, OptimalEpsilonLossForGaussianData) {
  const auto ddpm = formulation("ddpm");
  EXPECT_NEAR(optimal_loss(*ddpm, 0, 0.25), 0.9996001, 5e-8);
  EXPECT_NEAR(optimal_loss(*ddpm, 499, 0.25), 0.0208773, 5e-8);
  EXPECT_NEAR(optimal_loss(*ddpm, 999, 0.25), 1.00899e-5, 5e-11);
}

TEST(FlowMatching, OptimalLossForGaussianDataIntegratesToHalfPiTimesItsWidth) {
  const auto flow = formulation("flow");
  constexpr int kPoints = 20'000;
  double sum = 0.0;
  for (int i = 0; i < kPoints; ++i) sum += optimal_loss(*flow, (i + 0.5) / kPoints, 0.25);
  EXPECT_NEAR(sum / kPoints, 0.5 * std::numbers::pi / 2.0, 1e-7);
}

TEST(Weighting, MinSnrOnEpsilonIsMinSnrOverSnr) {
  FormulationOptions options;
  options.weighting = "min_snr";
  const auto ddpm = make_formulation(options);
  for (const double t : {0.0, 100.0, 999.0}) {
    const double snr = ddpm->level(t).snr();
    EXPECT_NEAR(ddpm->weight(ddpm->level(t)), std::min(snr, 5.0) / snr, 1e-12);
  }
}

TEST(Weighting, StaysFiniteAtBothEndsOfAStraightPath) {
  for (const char* weighting : {"none", "min_snr", "edm"}) {
    FormulationOptions options;
    options.formulation = "flow";
    options.weighting = weighting;
    const auto flow = make_formulation(options);
    EXPECT_TRUE(std::isfinite(flow->weight(flow->level(0.0)))) << weighting;
    EXPECT_TRUE(std::isfinite(flow->weight(flow->level(1.0)))) << weighting;
  }
}

TEST(DrawTime, HasTheStatedDistributions) {
  constexpr int kDraws = 20'000;
  FormulationOptions options;
  options.formulation = "flow";
  options.time_sampling = "logit_normal";
  const auto logit_normal = make_formulation(options);
  const auto ddpm = formulation("ddpm"), edm = formulation("edm"), flow = formulation("flow");
  double mean_step = 0, mean_log_sigma = 0, var_log_sigma = 0, mean_t = 0, var_logit = 0;
  for (int i = 0; i < kDraws; ++i) {
    const Philox stream(1, Purpose::kTimestep, i);
    mean_step += ddpm->draw_time(stream) / kDraws;
    const double log_sigma = std::log(edm->draw_time(stream));
    mean_log_sigma += log_sigma / kDraws;
    var_log_sigma += (log_sigma + 1.2) * (log_sigma + 1.2) / kDraws;
    mean_t += flow->draw_time(stream) / kDraws;
    const double t = logit_normal->draw_time(stream);
    var_logit += std::pow(std::log(t / (1.0 - t)), 2) / kDraws;
  }
  // Five standard errors each.
  EXPECT_NEAR(mean_step, 499.5, 5 * 288.7 / std::sqrt(kDraws));
  EXPECT_NEAR(mean_log_sigma, -1.2, 5 * 1.2 / std::sqrt(kDraws));
  EXPECT_NEAR(var_log_sigma, 1.44, 5 * 1.44 * std::sqrt(2.0 / kDraws));
  EXPECT_NEAR(mean_t, 0.5, 5 * 0.2887 / std::sqrt(kDraws));
  EXPECT_NEAR(var_logit, 1.0, 5 * std::sqrt(2.0 / kDraws));
}

TEST(KarrasSigmas, HaveThePublishedValues) {
  const auto sigmas = karras_sigmas(0.002, 80.0, 7.0, 18);
  EXPECT_NEAR(sigmas[0], 80.0, 1e-12);
  EXPECT_NEAR(sigmas[1], 57.585985, 5e-7);
  EXPECT_NEAR(sigmas[2], 40.785574, 5e-7);
  EXPECT_NEAR(sigmas[16], 0.007528, 5e-7);
  EXPECT_NEAR(sigmas[17], 0.002, 1e-12);
}

TEST(SpacedTimesteps, FollowTheThreeConventions) {
  EXPECT_EQ(spaced_timesteps("leading", 1000, 4, 1), (std::vector<std::int64_t>{751, 501, 251, 1}));
  EXPECT_EQ(spaced_timesteps("trailing", 1000, 4, 0),
            (std::vector<std::int64_t>{999, 749, 499, 249}));
  EXPECT_EQ(spaced_timesteps("linspace", 1000, 4, 0),
            (std::vector<std::int64_t>{999, 666, 333, 0}));
}

TEST(MakeFormulation, RefusesWhatCannotWork) {
  const auto refused = [](auto change) {
    FormulationOptions options;
    change(options);
    EXPECT_THROW(make_formulation(options), Error);
  };
  refused([](auto& o) { o.formulation = "ddqm"; });
  refused([](auto& o) { o.prediction = "noise"; });
  refused([](auto& o) { o.formulation = "flow", o.learn_variance = true; });
  refused([](auto& o) { o.zero_terminal_snr = true; });
  refused([](auto& o) { o.sigma_min = 0.0; });
  refused([](auto& o) { o.shift = 0.0; });
}

}  // namespace
}  // namespace kiln
