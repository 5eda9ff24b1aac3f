#pragma once

#include <filesystem>

#include "core/objective.h"
#include "launch/trained/eval_target.h"

namespace kiln {

/// What `kiln export` writes. `latents`, where not empty: a dataset of an autoencoder's latents, or
/// a diffusion run trained on them; their measured scale becomes the autoencoder's
/// model.latent_scale. Throws Error(kUsage) if they are another autoencoder's.
EvalTarget open_for_export(const std::filesystem::path& checkpoint,
                           const std::filesystem::path& latents);

/// Says so in the log if `objective` is an autoencoder the scale of whose latents is not known.
void warn_of_unknown_scale(Objective& objective);

}  // namespace kiln
