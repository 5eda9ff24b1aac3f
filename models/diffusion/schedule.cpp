#include "models/diffusion/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/base/error.h"

namespace kiln {
namespace {

double interpolate(double first, double last, std::int64_t i, std::int64_t count) {
  if (count < 2) return first;
  return first + (last - first) * static_cast<double>(i) / static_cast<double>(count - 1);
}

double cosine_signal_power(double fraction) {
  constexpr double kOffset = 0.008;
  const double c = std::cos((fraction + kOffset) / (1.0 + kOffset) * std::numbers::pi / 2.0);
  return c * c;
}

double cosine_beta(std::int64_t t, std::int64_t num_steps) {
  constexpr double kLargestBeta = 0.999;
  const double steps = static_cast<double>(num_steps);
  const double i = static_cast<double>(t);
  return std::min(1.0 - cosine_signal_power((i + 1.0) / steps) / cosine_signal_power(i / steps),
                  kLargestBeta);
}

}  // namespace

NoiseLevel BetaSchedule::level(std::int64_t t) const {
  if (t < 0) return {1.0, 0.0};
  const double power = alphas_cumprod.at(static_cast<std::size_t>(t));
  return {std::sqrt(power), std::sqrt(1.0 - power)};
}

BetaSchedule schedule_from_betas(std::vector<double> betas) {
  BetaSchedule schedule{std::move(betas), {}};
  double product = 1.0;
  for (const double beta : schedule.betas) schedule.alphas_cumprod.push_back(product *= 1.0 - beta);
  return schedule;
}

BetaSchedule make_beta_schedule(const std::string& name, double beta_start, double beta_end,
                                std::int64_t num_steps) {
  if (num_steps < 1) {
    throw usage_error("model.timesteps = {}: a noise schedule needs at least one step", num_steps);
  }
  if (name != "linear" && name != "scaled_linear" && name != "cosine") {
    throw usage_error("model.beta_schedule = \"{}\": known are linear, scaled_linear, cosine",
                      name);
  }
  if (name != "cosine" && !(0.0 < beta_start && beta_start <= beta_end && beta_end < 1.0)) {
    throw usage_error("model.beta_start = {}, model.beta_end = {}: expected 0 < start <= end < 1",
                      beta_start, beta_end);
  }
  std::vector<double> betas(static_cast<std::size_t>(num_steps));
  for (std::int64_t t = 0; t < num_steps; ++t) {
    double& beta = betas[static_cast<std::size_t>(t)];
    if (name == "linear") {
      beta = interpolate(beta_start, beta_end, t, num_steps);
    } else if (name == "scaled_linear") {
      const double root = interpolate(std::sqrt(beta_start), std::sqrt(beta_end), t, num_steps);
      beta = root * root;
    } else {
      beta = cosine_beta(t, num_steps);
    }
  }
  return schedule_from_betas(std::move(betas));
}

BetaSchedule with_zero_terminal_snr(const BetaSchedule& schedule) {
  const double first = std::sqrt(schedule.alphas_cumprod.front());
  const double last = std::sqrt(schedule.alphas_cumprod.back());
  BetaSchedule rescaled;
  double previous = 1.0;
  for (const double power : schedule.alphas_cumprod) {
    const double root = (std::sqrt(power) - last) * first / (first - last);
    rescaled.alphas_cumprod.push_back(root * root);
    rescaled.betas.push_back(1.0 - root * root / previous);
    previous = root * root;
  }
  return rescaled;
}

Posterior posterior(const NoiseLevel& level, const NoiseLevel& cleaner) {
  const double ratio = level.signal / cleaner.signal;
  const double noise2 = level.noise * level.noise;
  const double cleaner2 = cleaner.noise * cleaner.noise;
  const double transition = noise2 - ratio * ratio * cleaner2;
  return {cleaner.signal * transition / noise2, ratio * cleaner2 / noise2,
          transition * cleaner2 / noise2, transition};
}

double posterior_log_variance_clipped(const BetaSchedule& schedule, std::int64_t t) {
  // A chain of one step has no entry 1 to copy: its posterior is the transition itself.
  if (schedule.size() == 1) return std::log(schedule.betas.front());
  const std::int64_t step = std::max<std::int64_t>(t, 1);
  return std::log(posterior(schedule.level(step), schedule.level(step - 1)).variance);
}

}  // namespace kiln
