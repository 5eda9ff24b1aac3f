#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/philox.h"
#include "core/recipe/options.h"
#include "models/diffusion/noise_level.h"
#include "models/diffusion/schedule.h"

namespace kiln {

/// Keys of [model] that choose a diffusion objective. Those of other formulations are ignored.
struct FormulationOptions {
  std::string formulation = "ddpm";
  std::string prediction = "epsilon";
  std::string beta_schedule = "linear";
  double beta_start = 1e-4;
  double beta_end = 0.02;
  std::int64_t timesteps = 1000;
  bool zero_terminal_snr = false;
  bool learn_variance = false;
  double vlb_weight = 1.0;
  double sigma_data = 0.5;
  double sigma_min = 0.002;
  double sigma_max = 80.0;
  double log_sigma_mean = -1.2;
  double log_sigma_std = 1.2;
  std::string time_sampling = "uniform";
  double logit_mean = 0.0;
  double logit_std = 1.0;
  double time_scale = 1000.0;
  double shift = 1.0;
  std::string weighting = "none";
  double snr_gamma = 5.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("formulation", formulation, "ddpm | edm | flow | score", kIdentity);
    visit("prediction", prediction, "ddpm: what the network gives: epsilon | x0 | v", kIdentity);
    visit("beta_schedule", beta_schedule, "ddpm: linear | scaled_linear | cosine", kIdentity);
    visit("beta_start", beta_start, "ddpm: beta of the first step.", kIdentity);
    visit("beta_end", beta_end, "ddpm: beta of the last step.", kIdentity);
    visit("timesteps", timesteps, "ddpm: length of the chain.", kIdentity);
    visit("zero_terminal_snr", zero_terminal_snr,
          "ddpm: rescale so that the last step is pure noise.", kIdentity);
    visit("learn_variance", learn_variance,
          "ddpm: the network also gives the variance, trained by the variational bound.",
          kIdentity);
    visit("vlb_weight", vlb_weight, "ddpm with learn_variance: factor of the bound (bits/dim).",
          kIdentity);
    visit("sigma_data", sigma_data, "edm: standard deviation of the data.", kIdentity);
    visit("sigma_min", sigma_min, "edm, score: least noise of sampling (score: of training too).",
          kIdentity);
    visit("sigma_max", sigma_max, "edm, score: most noise.", kIdentity);
    visit("log_sigma_mean", log_sigma_mean, "edm: mean of ln sigma in training.", kIdentity);
    visit("log_sigma_std", log_sigma_std, "edm: standard deviation of ln sigma.", kIdentity);
    visit("time_sampling", time_sampling, "flow: uniform | logit_normal", kIdentity);
    visit("logit_mean", logit_mean, "flow, logit_normal: mean of logit t; above 0 favours noise.",
          kIdentity);
    visit("logit_std", logit_std, "flow, logit_normal: its standard deviation.", kIdentity);
    visit("time_scale", time_scale, "flow: the network is given time_scale * t (SiT: 1).",
          kIdentity);
    visit("shift", shift,
          "flow: t becomes shift t / (1 + (shift - 1) t), in training and sampling.", kIdentity);
    visit("weighting", weighting, "none | min_snr | edm: weight of a noise level in the loss.",
          kIdentity);
    visit("snr_gamma", snr_gamma, "min_snr: the signal-to-noise ratio is counted up to this.",
          kIdentity);
  }
};

/// One point of a sampling trajectory. The level is the truth; time is what the network is told.
struct Node {
  double time = 0.0;
  NoiseLevel level;
};
/// From most noise to least; the last one is the result, usually clean.
using Trajectory = std::vector<Node>;

struct TrajectoryOptions {
  std::int64_t steps = 50;
  /// ddpm: leading | trailing | linspace; flow: uniform (1 to 0) | linspace (1 to 1/1000, then 0);
  /// edm and score: karras. Empty: the formulation's first.
  std::string spacing;
  std::int64_t steps_offset = 0;  // ddpm, leading: added to every timestep
  bool end_clean = true;          // ddpm: false ends at the level of step 0
  double rho = 7.0;               // karras
};

/// What one way of training and sampling a diffusion model consists of, over x = s(t)(x0 + sigma(t)
/// n). `time` is the formulation's own: DDPM's integer step, EDM's and score matching's sigma, flow
/// matching's t with data at 0 and noise at 1 (some codes run it the other way).
///
/// Pure functions in float64; thread safe.
class Formulation {
 public:
  explicit Formulation(FormulationOptions options) : options_(std::move(options)) {}
  virtual ~Formulation() = default;

  virtual NoiseLevel level(double time) const = 0;
  virtual Target target(const NoiseLevel& level) const = 0;
  /// A training time, from numbers 0 .. 3 of the stream.
  virtual double draw_time(const Philox& stream) const = 0;
  virtual Trajectory trajectory(const TrajectoryOptions& options) const = 0;
  /// The network sees F(input_scale x; network_time).
  virtual double input_scale(const NoiseLevel&) const { return 1.0; }
  virtual double network_time(double time) const { return time; }
  /// Names of the samplers that suit it, the default one first.
  virtual std::vector<std::string> samplers() const = 0;
  /// Standard deviation of the noise a trajectory starts from.
  virtual double prior_std() const { return 1.0; }
  /// The chain that a learned variance and the variational bound refer to; null: there is none.
  virtual const BetaSchedule* chain() const { return nullptr; }

  /// Factor of |F - target|^2. With weight w on |D(x) - x0|^2 it is w (dx0/dF)^2:
  /// "min_snr" w = min(SNR, gamma) (arXiv 2303.09556), "edm" w = (sigma^2 + sigma_data^2) /
  /// (sigma sigma_data)^2 (arXiv 2206.00364), which is 1 in F for EDM's own target. "none": 1.
  double weight(const NoiseLevel& level) const;
  const FormulationOptions& options() const { return options_; }

 protected:
  FormulationOptions options_;
};

/// Throws Error(kUsage) for unknown names and impossible numbers.
std::unique_ptr<Formulation> make_formulation(const FormulationOptions& options);

/// Timesteps of a respaced chain, descending. leading: multiples of T / steps from 0; trailing:
/// from T - 1 down; linspace: both ends.
std::vector<std::int64_t> spaced_timesteps(const std::string& spacing, std::int64_t chain_length,
                                           std::int64_t steps, std::int64_t offset);
/// EDM's eq. 5: (max^(1/rho) + i/(n-1) (min^(1/rho) - max^(1/rho)))^rho, i = 0 .. n-1.
std::vector<double> karras_sigmas(double sigma_min, double sigma_max, double rho,
                                  std::int64_t steps);

}  // namespace kiln
