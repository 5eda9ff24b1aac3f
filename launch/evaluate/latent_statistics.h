#pragma once

#include <cstdint>

#include "data/loader.h"
#include "models/diffusion/objective.h"
#include "models/measures/frechet.h"

namespace kiln {

/// Mean and covariance of what a diffusion model learns to draw: x0 of the first `count` samples,
/// flattened, in the model's own scale, latents drawn from their moments with `seed`.
FeatureStatistics latent_statistics(const LatentDiffusion& model, const DatasetReader& reader,
                                    std::int64_t count, std::uint64_t seed);

}  // namespace kiln
