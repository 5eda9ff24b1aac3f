#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/diffusion/noise_level.h"

namespace kiln {

/// The discrete schedule of DDPM (Ho et al., arXiv 2006.11239), all in float64. Step t = 0 .. T-1 is
/// the level after t + 1 noisings: alphas_cumprod[t] includes betas[t].
struct BetaSchedule {
  std::vector<double> betas;
  std::vector<double> alphas_cumprod;

  std::int64_t size() const { return static_cast<std::int64_t>(betas.size()); }
  /// {sqrt(alphas_cumprod), sqrt(1 - alphas_cumprod)}; t = -1 is clean data, {1, 0}.
  NoiseLevel level(std::int64_t t) const;
};

/// name: "linear" in beta; "scaled_linear", linear in sqrt(beta) (what latent diffusion calls
/// linear); "cosine" (Nichol and Dhariwal, arXiv 2102.09672: offset 0.008, betas at most 0.999; the
/// ends are not used). Throws Error(kUsage) for other names and for ends outside 0 < start <= end < 1.
BetaSchedule make_beta_schedule(const std::string& name, double beta_start, double beta_end,
                                std::int64_t num_steps);
BetaSchedule schedule_from_betas(std::vector<double> betas);
/// Shifts and stretches sqrt(alphas_cumprod) so that the last step is pure noise and the first stays
/// (Lin et al., arXiv 2305.08891).
BetaSchedule with_zero_terminal_snr(const BetaSchedule& schedule);

/// q(x' | x, x0) between two levels of one chain, x' the cleaner one: normal with mean
/// from_x0 x0 + from_x x. With neighbouring steps these are DDPM's tables; with any two levels the
/// respaced chain's; and they hold for every s(t), sigma(t).
struct Posterior {
  double from_x0, from_x;
  double variance;             // beta tilde
  double transition_variance;  // of q(x | x'), beta
};
Posterior posterior(const NoiseLevel& level, const NoiseLevel& cleaner);

/// Posterior of step t given t - 1, log of its variance with entry 0 replaced by entry 1 (which would
/// be log 0).
double posterior_log_variance_clipped(const BetaSchedule& schedule, std::int64_t t);

}  // namespace kiln
