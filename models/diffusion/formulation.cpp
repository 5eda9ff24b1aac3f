#include "models/diffusion/formulation.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/error.h"

namespace kiln {
namespace {

double standard_normal(const Philox& stream) {
  float z = 0.0f;
  fill_normal(stream, &z, 1);
  return z;
}

/// Denoising diffusion probabilistic models, arXiv 2006.11239: s = sqrt(acp), s sigma = sqrt(1 -
/// acp).
class Ddpm final : public Formulation {
 public:
  explicit Ddpm(const FormulationOptions& options)
      : Formulation(options),
        schedule_(make_beta_schedule(options.beta_schedule, options.beta_start, options.beta_end,
                                     options.timesteps)) {
    if (options.zero_terminal_snr) schedule_ = with_zero_terminal_snr(schedule_);
  }
  NoiseLevel level(double time) const override {
    return schedule_.level(static_cast<std::int64_t>(time));
  }
  Target target(const NoiseLevel& level) const override {
    if (options_.prediction == "epsilon") return epsilon_target();
    return options_.prediction == "x0" ? x0_target() : v_target(level);
  }
  double draw_time(const Philox& stream) const override {
    return static_cast<double>(stream.below(schedule_.size(), 0));
  }
  Trajectory trajectory(const TrajectoryOptions& options) const override {
    const std::string spacing = options.spacing.empty() ? "leading" : options.spacing;
    Trajectory nodes;
    for (const auto t :
         spaced_timesteps(spacing, schedule_.size(), options.steps, options.steps_offset)) {
      nodes.push_back({static_cast<double>(t), schedule_.level(t)});
    }
    nodes.push_back({-1.0, schedule_.level(options.end_clean ? -1 : 0)});
    return nodes;
  }
  std::vector<std::string> samplers() const override {
    return {"ddim", "ddpm", "euler", "dpm_solver"};
  }
  const BetaSchedule* chain() const override { return &schedule_; }

 private:
  BetaSchedule schedule_;
};

Trajectory karras_trajectory(const Formulation& formulation, const TrajectoryOptions& options) {
  if (!options.spacing.empty() && options.spacing != "karras") {
    throw usage_error("spacing \"{}\": formulation {} knows karras", options.spacing,
                      formulation.options().formulation);
  }
  Trajectory nodes;
  for (const double sigma :
       karras_sigmas(formulation.options().sigma_min, formulation.options().sigma_max, options.rho,
                     options.steps)) {
    nodes.push_back({sigma, formulation.level(sigma)});
  }
  nodes.push_back({0.0, {1.0, 0.0}});
  return nodes;
}

/// EDM, arXiv 2206.00364: s = 1; D = c_skip x + c_out F, with F's target of unit variance.
class Edm final : public Formulation {
 public:
  using Formulation::Formulation;
  NoiseLevel level(double time) const override { return {1.0, time}; }
  Target target(const NoiseLevel& level) const override {
    // (x0 - c_skip x) / c_out with c_skip = sd^2 / (sigma^2 + sd^2), c_out = sigma sd / root.
    const double root = std::hypot(level.noise, options_.sigma_data);
    return {level.noise / (options_.sigma_data * root), -options_.sigma_data / root};
  }
  double input_scale(const NoiseLevel& level) const override {
    return 1.0 / std::hypot(level.noise, options_.sigma_data);
  }
  double network_time(double time) const override { return 0.25 * std::log(time); }
  double draw_time(const Philox& stream) const override {
    return std::exp(options_.log_sigma_mean + options_.log_sigma_std * standard_normal(stream));
  }
  Trajectory trajectory(const TrajectoryOptions& options) const override {
    return karras_trajectory(*this, options);
  }
  std::vector<std::string> samplers() const override {
    return {"heun", "euler", "dpm_solver", "langevin"};
  }
  double prior_std() const override { return options_.sigma_max; }
};

/// Denoising score matching over a range of sigma (arXiv 1907.05600, 2011.13456): s = 1,
/// loss |sigma score(x) + n|^2, sigma log-uniform.
class ScoreMatching final : public Formulation {
 public:
  using Formulation::Formulation;
  NoiseLevel level(double time) const override { return {1.0, time}; }
  Target target(const NoiseLevel&) const override { return score_target(); }
  double network_time(double time) const override { return std::log(0.5 * time); }
  double draw_time(const Philox& stream) const override {
    return options_.sigma_min *
           std::pow(options_.sigma_max / options_.sigma_min, stream.uniform(0));
  }
  Trajectory trajectory(const TrajectoryOptions& options) const override {
    return karras_trajectory(*this, options);
  }
  std::vector<std::string> samplers() const override {
    return {"langevin", "heun", "euler", "dpm_solver"};
  }
  double prior_std() const override { return options_.sigma_max; }
};

/// Flow matching / rectified flow, arXiv 2210.02747, 2209.03003: s = 1 - t, s sigma = t, v = n -
/// x0.
class FlowMatching final : public Formulation {
 public:
  using Formulation::Formulation;
  NoiseLevel level(double time) const override { return {1.0 - time, time}; }
  Target target(const NoiseLevel&) const override { return velocity_target(); }
  double network_time(double time) const override { return options_.time_scale * time; }
  double draw_time(const Philox& stream) const override {
    if (options_.time_sampling == "uniform") return shifted(stream.uniform(0));
    const double logit = options_.logit_mean + options_.logit_std * standard_normal(stream);
    return shifted(1.0 / (1.0 + std::exp(-logit)));
  }
  Trajectory trajectory(const TrajectoryOptions& options) const override {
    const std::string spacing = options.spacing.empty() ? "uniform" : options.spacing;
    if (spacing != "uniform" && spacing != "linspace") {
      throw usage_error("spacing \"{}\": formulation flow knows uniform, linspace", spacing);
    }
    // linspace: evenly between the ends of the shifted table of 1000 training times, then shifted.
    const double last = spacing == "uniform" ? 0.0 : shifted(1e-3);
    const double intervals = static_cast<double>(options.steps - (spacing == "uniform" ? 0 : 1));
    Trajectory nodes;
    for (std::int64_t i = 0; i < options.steps; ++i) {
      const double fraction = intervals > 0.0 ? static_cast<double>(i) / intervals : 0.0;
      const double t = shifted(1.0 + (last - 1.0) * fraction);
      nodes.push_back({t, level(t)});
    }
    nodes.push_back({0.0, level(0.0)});
    return nodes;
  }
  std::vector<std::string> samplers() const override {
    return {"flow_euler", "flow_heun", "euler", "dpm_solver"};
  }

 private:
  double shifted(double t) const { return options_.shift * t / (1.0 + (options_.shift - 1.0) * t); }
};

void check_name(const char* key, const std::string& value, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  throw usage_error("model.{} = \"{}\": known are {}", key, value, fmt::join(known, ", "));
}

void check(const FormulationOptions& options) {
  check_name("formulation", options.formulation, {"ddpm", "edm", "flow", "score"});
  check_name("prediction", options.prediction, {"epsilon", "x0", "v"});
  check_name("time_sampling", options.time_sampling, {"uniform", "logit_normal"});
  check_name("weighting", options.weighting, {"none", "min_snr", "edm"});
  if (options.learn_variance && options.formulation != "ddpm") {
    throw usage_error("model.learn_variance = true needs model.formulation = \"ddpm\", not \"{}\"",
                      options.formulation);
  }
  if (options.zero_terminal_snr && options.prediction == "epsilon") {
    throw usage_error(
        "model.zero_terminal_snr = true: x0 cannot be had from epsilon where there is "
        "no signal; use model.prediction = \"v\"");
  }
  if (!(0.0 < options.sigma_min && options.sigma_min < options.sigma_max)) {
    throw usage_error("model.sigma_min = {}, model.sigma_max = {}: expected 0 < min < max",
                      options.sigma_min, options.sigma_max);
  }
  for (const auto& [key, value] :
       {std::pair{"sigma_data", options.sigma_data}, std::pair{"shift", options.shift},
        std::pair{"time_scale", options.time_scale}, std::pair{"snr_gamma", options.snr_gamma}}) {
    if (!(value > 0.0)) throw usage_error("model.{} = {}: expected more than 0", key, value);
  }
}

}  // namespace

double Formulation::weight(const NoiseLevel& level) const {
  if (options_.weighting == "none") return 1.0;
  // dx0/dF = -noise / determinant. Its noise is cancelled by hand: no level divides by zero.
  const double d = determinant(level, target(level));
  const double signal2 = level.signal * level.signal;
  const double noise2 = level.noise * level.noise;
  const double sigma_data2 = options_.sigma_data * options_.sigma_data;
  const double on_x0 = options_.weighting == "min_snr"
                           ? std::min(signal2, options_.snr_gamma * noise2)
                           : noise2 / sigma_data2 + signal2;
  return on_x0 / (d * d);
}

std::unique_ptr<Formulation> make_formulation(const FormulationOptions& options) {
  check(options);
  if (options.formulation == "ddpm") return std::make_unique<Ddpm>(options);
  if (options.formulation == "edm") return std::make_unique<Edm>(options);
  if (options.formulation == "flow") return std::make_unique<FlowMatching>(options);
  return std::make_unique<ScoreMatching>(options);
}

std::vector<std::int64_t> spaced_timesteps(const std::string& spacing, std::int64_t chain_length,
                                           std::int64_t steps, std::int64_t offset) {
  check_name("spacing", spacing, {"leading", "trailing", "linspace"});
  if (steps < 1 || steps > chain_length) {
    throw usage_error("{} sampling steps: a chain of {} allows 1 to {}", steps, chain_length,
                      chain_length);
  }
  const double ratio = static_cast<double>(chain_length) / static_cast<double>(steps);
  std::vector<std::int64_t> times;
  for (std::int64_t i = 0; i < steps; ++i) {
    const auto left = static_cast<double>(steps - 1 - i);
    double t = 0.0;
    if (spacing == "leading") {
      t = left * static_cast<double>(chain_length / steps) + static_cast<double>(offset);
    } else if (spacing == "trailing") {
      t = std::nearbyint(static_cast<double>(chain_length) - static_cast<double>(i) * ratio) - 1.0;
    } else if (steps > 1) {
      t = std::nearbyint(left * static_cast<double>(chain_length - 1) /
                         static_cast<double>(steps - 1));
    }
    times.push_back(std::min(static_cast<std::int64_t>(t), chain_length - 1));
  }
  return times;
}

std::vector<double> karras_sigmas(double sigma_min, double sigma_max, double rho,
                                  std::int64_t steps) {
  const double first = std::pow(sigma_max, 1.0 / rho);
  const double last = std::pow(sigma_min, 1.0 / rho);
  std::vector<double> sigmas;
  for (std::int64_t i = 0; i < steps; ++i) {
    const double fraction = steps > 1 ? static_cast<double>(i) / static_cast<double>(steps - 1) : 0;
    sigmas.push_back(std::pow(first + fraction * (last - first), rho));
  }
  return sigmas;
}

}  // namespace kiln
