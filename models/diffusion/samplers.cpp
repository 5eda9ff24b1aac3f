#include "models/diffusion/samplers.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/error.h"

namespace kiln {
namespace {

constexpr double kLeastVariance = 1e-20;  // keeps the logarithm of a posterior without noise finite

/// One run along a trajectory: hands out noise in the order it is asked for.
class Run {
 public:
  Run(const SamplerOptions& options, const Trajectory& nodes, const Denoise& denoise,
      const NoiseSource& noise, const OnStep& on_step)
      : options_(options), nodes_(nodes), denoise_(denoise), noise_(noise), on_step_(on_step) {}

  at::Tensor ancestral(at::Tensor x) {
    return march(std::move(x), [this](const at::Tensor& at, const Node& node, const Node& next) {
      const Estimate estimate = denoise(at, node);
      const bool is_last = next.level.noise == 0.0;
      return ddpm_step(at, estimate, node.level, next.level, options_.variance,
                       is_last ? at::Tensor() : draw());
    });
  }

  at::Tensor ddim(at::Tensor x, double eta) {
    return march(std::move(x),
                 [this, eta](const at::Tensor& at, const Node& node, const Node& next) {
                   return ddim_step(denoise(at, node), node.level, next.level, eta,
                                    eta > 0.0 ? draw() : at::Tensor());
                 });
  }

  /// Trapezoidal rule where signal and noise are linear in time. In sigma the derivative is not
  /// defined at the clean end: Euler's step there (EDM, algorithm 2). A velocity is.
  at::Tensor heun(at::Tensor x, bool corrects_last) {
    return march(std::move(x),
                 [=, this](const at::Tensor& at, const Node& start, const Node& next) {
                   auto [moved, node] = churned(at, start);
                   const double signal = next.level.signal - node.level.signal;
                   const double noise = next.level.noise - node.level.noise;
                   const Estimate here = denoise(moved, node);
                   const at::Tensor slope = here.x0 * signal + here.noise * noise;
                   const at::Tensor end = moved + slope;
                   if (next.level.noise == 0.0 && !corrects_last) return end;
                   const Estimate there = denoise(end, next);
                   return moved + (slope + there.x0 * signal + there.noise * noise) * 0.5;
                 });
  }

  at::Tensor dpm_solver(at::Tensor x) {
    std::optional<at::Tensor> previous;
    NoiseLevel previous_level;
    return march(std::move(x), [&, this](const at::Tensor& at, const Node& node, const Node& next) {
      const at::Tensor x0 = denoise(at, node).x0;
      const bool is_last = next.level.noise == 0.0;
      at::Tensor end = dpm_solver_step(at, x0, node.level, next.level,
                                       is_last ? std::nullopt : previous, previous_level);
      previous = x0;
      previous_level = node.level;
      return end;
    });
  }

  /// Annealed Langevin dynamics (arXiv 1907.05600, algorithm 1), with a last denoising:
  /// x <- x + a/2 score + sqrt(a) z, a = step size * noise^2, score = -n / noise.
  at::Tensor langevin(at::Tensor x) {
    return march(std::move(x), [this](const at::Tensor& at, const Node& node, const Node& next) {
      const double a = options_.langevin_step_size * node.level.noise * node.level.noise;
      at::Tensor moved = at;
      for (std::int64_t i = 0; i < options_.langevin_steps; ++i) {
        const at::Tensor score = denoise(moved, node).noise / -node.level.noise;
        moved = moved + score * (0.5 * a) + draw() * std::sqrt(a);
      }
      return next.level.noise == 0.0 ? denoise(moved, node).x0 : moved;
    });
  }

 private:
  template <typename Step>
  at::Tensor march(at::Tensor x, Step step) {
    for (std::size_t i = 0; i + 1 < nodes_.size(); ++i) {
      x = step(x, nodes_[i], nodes_[i + 1]);
      if (on_step_) on_step_(static_cast<std::int64_t>(i) + 1);
    }
    return x;
  }

  Estimate denoise(const at::Tensor& x, const Node& node) const {
    Estimate estimate = denoise_(x, node);
    if (options_.clip > 0.0) estimate.x0 = estimate.x0.clamp(-options_.clip, options_.clip);
    return estimate;
  }

  at::Tensor draw() { return noise_(++draws_); }

  /// EDM's stochasticity: adds noise up to sigma_hat = sigma (1 + gamma) before the step.
  std::pair<at::Tensor, Node> churned(const at::Tensor& x, const Node& node) {
    const double sigma = node.level.noise;
    if (options_.churn <= 0.0 || sigma < options_.churn_min || sigma > options_.churn_max) {
      return {x, node};
    }
    const double num_steps = static_cast<double>(nodes_.size() - 1);
    const double gamma = std::min(options_.churn / num_steps, std::sqrt(2.0) - 1.0);
    const double raised = sigma * (1.0 + gamma);
    const double added = options_.churn_noise * std::sqrt(raised * raised - sigma * sigma);
    return {x + draw() * added, Node{raised, {1.0, raised}}};
  }

  const SamplerOptions& options_;
  const Trajectory& nodes_;
  const Denoise& denoise_;
  const NoiseSource& noise_;
  const OnStep& on_step_;
  std::int64_t draws_ = 0;
};

}  // namespace

at::Tensor ddim_step(const Estimate& estimate, const NoiseLevel& level, const NoiseLevel& cleaner,
                     double eta, const at::Tensor& z) {
  const double variance = eta * eta * posterior(level, cleaner).variance;
  const double direction = std::sqrt(std::max(cleaner.noise * cleaner.noise - variance, 0.0));
  at::Tensor x = estimate.x0 * cleaner.signal + estimate.noise * direction;
  return variance > 0.0 ? x + z * std::sqrt(variance) : x;
}

at::Tensor ddpm_step(const at::Tensor& x, const Estimate& estimate, const NoiseLevel& level,
                     const NoiseLevel& cleaner, const std::string& variance, const at::Tensor& z) {
  const Posterior q = posterior(level, cleaner);
  const at::Tensor mean = estimate.x0 * q.from_x0 + x * q.from_x;
  if (cleaner.noise == 0.0) return mean;
  const double small = std::max(q.variance, kLeastVariance);
  if (variance == "learned") {
    KILN_CHECK(estimate.variance_fraction.has_value(), "learned variance without an estimate");
    const at::Tensor log_variance = *estimate.variance_fraction * std::log(q.transition_variance) +
                                    (1.0 - *estimate.variance_fraction) * std::log(small);
    return mean + (log_variance * 0.5).exp() * z;
  }
  return mean + z * std::sqrt(variance == "fixed_large" ? q.transition_variance : small);
}

at::Tensor dpm_solver_step(const at::Tensor& x, const at::Tensor& x0, const NoiseLevel& level,
                           const NoiseLevel& cleaner, const std::optional<at::Tensor>& previous,
                           const NoiseLevel& previous_level) {
  // h = lambda' - lambda with lambda = ln(signal / noise); decay = exp(-h), 0 from pure noise and
  // into clean data.
  const double decay = level.signal * cleaner.noise / (level.noise * cleaner.signal);
  at::Tensor direction = x0;
  if (previous && previous_level.signal > 0.0) {
    const double before =
        std::log(level.signal * previous_level.noise / (level.noise * previous_level.signal));
    const double half_inverse_ratio = -std::log(decay) / (2.0 * before);  // 1 / (2 r)
    direction = x0 * (1.0 + half_inverse_ratio) - *previous * half_inverse_ratio;
  }
  return x * (cleaner.noise / level.noise) + direction * (cleaner.signal * (1.0 - decay));
}

SamplerOptions checked(SamplerOptions options, const Formulation& formulation) {
  const auto known = formulation.samplers();
  if (options.sampler.empty()) options.sampler = known.front();
  const std::string& name = formulation.options().formulation;
  if (std::find(known.begin(), known.end(), options.sampler) == known.end()) {
    throw usage_error("sampler \"{}\" does not fit a model trained as {}: use one of {}",
                      options.sampler, name, fmt::join(known, ", "));
  }
  if (options.variance != "fixed_small" && options.variance != "fixed_large" &&
      options.variance != "learned") {
    throw usage_error("variance \"{}\": known are fixed_small, fixed_large, learned",
                      options.variance);
  }
  if (options.variance == "learned" && !formulation.options().learn_variance) {
    throw usage_error("variance \"learned\": this model was trained without model.learn_variance");
  }
  if (options.steps < 1) throw usage_error("{} sampling steps: at least 1", options.steps);
  if (!(options.eta >= 0.0 && options.eta <= 1.0)) {
    throw usage_error("eta = {}: expected 0 (deterministic) to 1 (as noisy as ddpm)", options.eta);
  }
  if (options.churn > 0.0 && options.sampler != "heun") {
    throw usage_error("churn = {} needs sampler \"heun\", not \"{}\"", options.churn,
                      options.sampler);
  }
  // Steps and spacing are the formulation's to judge.
  formulation.trajectory(
      {options.steps, options.spacing, options.steps_offset, options.end_clean, options.rho});
  return options;
}

at::Tensor sample(const SamplerOptions& options, const Formulation& formulation,
                  const Denoise& denoise, const NoiseSource& noise, const OnStep& on_step) {
  const SamplerOptions chosen = checked(options, formulation);
  const Trajectory nodes = formulation.trajectory(
      {chosen.steps, chosen.spacing, chosen.steps_offset, chosen.end_clean, chosen.rho});
  return sample_along(chosen, nodes, noise(0) * formulation.prior_std(), denoise, noise, on_step);
}

at::Tensor sample_along(const SamplerOptions& options, const Trajectory& nodes, at::Tensor x,
                        const Denoise& denoise, const NoiseSource& noise, const OnStep& on_step) {
  Run run(options, nodes, denoise, noise, on_step);
  const std::string& name = options.sampler;
  if (name == "ddpm") return run.ancestral(std::move(x));
  if (name == "ddim") return run.ddim(std::move(x), options.eta);
  if (name == "euler" || name == "flow_euler") return run.ddim(std::move(x), 0.0);
  if (name == "heun") return run.heun(std::move(x), /*corrects_last=*/false);
  if (name == "flow_heun") return run.heun(std::move(x), /*corrects_last=*/true);
  if (name == "dpm_solver") return run.dpm_solver(std::move(x));
  KILN_CHECK(name == "langevin", "sampler {}", name);
  return run.langevin(std::move(x));
}

}  // namespace kiln
