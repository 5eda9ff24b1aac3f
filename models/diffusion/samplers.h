#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/recipe/options.h"
#include "models/diffusion/formulation.h"

namespace kiln {

/// What a network believes of x at a node. x = signal x0 + noise n holds unless x0 was clipped.
struct Estimate {
  at::Tensor x0;     // [B, ...] as x
  at::Tensor noise;  // [B, ...]
  /// Learned variance: where ln(variance) lies between the posterior's (0) and beta's (1).
  std::optional<at::Tensor> variance_fraction;
};

using Denoise = std::function<Estimate(const at::Tensor& x, const Node& node)>;
/// Standard normal noise for the n-th draw of a trajectory, n = 0 being the starting point's.
using NoiseSource = std::function<at::Tensor(std::int64_t draw)>;
/// Called after each step with the number of steps done; for progress bars.
using OnStep = std::function<void(std::int64_t steps_done)>;

struct SamplerOptions {
  std::string sampler;
  std::string spacing;
  std::int64_t steps = 50;
  std::int64_t steps_offset = 0;
  bool end_clean = true;
  double eta = 0.0;
  std::string variance = "fixed_small";
  double clip = 0.0;
  double rho = 7.0;
  double churn = 0.0;
  double churn_min = 0.0;
  double churn_max = 1e30;
  double churn_noise = 1.0;
  std::int64_t langevin_steps = 10;
  double langevin_step_size = 0.2;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("sampler", sampler,
          "ddim | ddpm | euler | heun | flow_euler | flow_heun | dpm_solver | langevin; empty: the "
          "formulation's first.",
          kExecution);
    visit("spacing", spacing,
          "ddpm: leading | trailing | linspace; flow: uniform | linspace; edm, score: karras.",
          kExecution);
    visit("steps", steps, "Sampling steps.", kExecution);
    visit("steps_offset", steps_offset, "Leading spacing: added to every timestep.", kExecution);
    visit("end_clean", end_clean, "false: a ddpm chain ends at the level of step 0.", kExecution);
    visit("eta", eta, "ddim: 0 deterministic, 1 as noisy as ddpm.", kExecution);
    visit("variance", variance, "ddpm: fixed_small | fixed_large | learned", kExecution);
    visit("clip", clip, "Clips estimates of x0 to +-clip (pixels: 1); 0: off, as latents need.",
          kExecution);
    visit("rho", rho, "edm, score: exponent of the spacing of sigma.", kExecution);
    visit("churn", churn, "heun: S_churn.", kExecution);
    visit("churn_min", churn_min, "heun: S_min, least sigma with churn.", kExecution);
    visit("churn_max", churn_max, "heun: S_max.", kExecution);
    visit("churn_noise", churn_noise, "heun: S_noise.", kExecution);
    visit("langevin_steps", langevin_steps, "langevin: steps per noise level.", kExecution);
    visit("langevin_step_size", langevin_step_size, "langevin: step size over sigma^2.",
          kExecution);
  }
};

/// Throws Error(kUsage) if the sampler or its options do not suit the formulation; returns the
/// options with the sampler's name filled in.
SamplerOptions checked(SamplerOptions options, const Formulation& formulation);

/// Runs a whole trajectory from prior_std * noise(0). The state keeps the type that noise() gives.
at::Tensor sample(const SamplerOptions& options, const Formulation& formulation,
                  const Denoise& denoise, const NoiseSource& noise, const OnStep& on_step = {});
/// The same along given nodes from a given start.
at::Tensor sample_along(const SamplerOptions& options, const Trajectory& nodes, at::Tensor x,
                        const Denoise& denoise, const NoiseSource& noise,
                        const OnStep& on_step = {});

// Single steps, from level to the cleaner one.

/// x' = s' x0 + sqrt(b'^2 - v) n + sqrt(v) z, v = eta^2 the posterior's variance (Song et al.,
/// arXiv 2010.02502, eq. 12). With eta 0 it is Euler's method for the probability flow: in sigma
/// for x / s(t), and in t for straight paths.
at::Tensor ddim_step(const Estimate& estimate, const NoiseLevel& level, const NoiseLevel& cleaner,
                     double eta, const at::Tensor& z);
/// A draw from q(x' | x, x0 = estimate), or with beta's or a learned variance; the mean alone where
/// the cleaner level is clean.
at::Tensor ddpm_step(const at::Tensor& x, const Estimate& estimate, const NoiseLevel& level,
                     const NoiseLevel& cleaner, const std::string& variance, const at::Tensor& z);
/// DPM-Solver++(2M), midpoint (Lu et al., arXiv 2211.01095, algorithm 2). `previous` is the
/// estimate of x0 one step earlier at `previous_level`; without it the step is of first order.
at::Tensor dpm_solver_step(const at::Tensor& x, const at::Tensor& x0, const NoiseLevel& level,
                           const NoiseLevel& cleaner, const std::optional<at::Tensor>& previous,
                           const NoiseLevel& previous_level);

}  // namespace kiln
