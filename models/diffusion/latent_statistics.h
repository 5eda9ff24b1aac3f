#pragma once

#include <cstdint>

#include "models/capabilities.h"
#include "models/diffusion/objective.h"
#include "models/measures/frechet.h"

namespace kiln {

/// Values of a sample beyond which no covariance of them is taken.
inline constexpr std::int64_t kMostCovarianceValues = 4096;
/// Throws Error(kUsage) where a sample has more.
void check_size_of_covariance(const LatentDiffusion& model);

/// Mean and covariance of what a diffusion model learns to draw: x0 of the first `count` samples,
/// flattened, in the model's own scale, latents drawn from their moments with `seed`.
FeatureStatistics latent_statistics(const LatentDiffusion& model, const SampleReader& data,
                                    std::int64_t count, std::uint64_t seed);

}  // namespace kiln
