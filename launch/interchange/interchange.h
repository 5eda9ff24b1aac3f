#pragma once

#include <filesystem>

namespace kiln {

/// Writes the weights of a run or checkpoint as a Hugging Face folder.
///
/// `latents`, of an autoencoder: a dataset of its latents, or a diffusion run trained on them,
/// whose measured scale is noted in the folder. Throws Error(kUsage) if they are another
/// autoencoder's.
void export_checkpoint(const std::filesystem::path& checkpoint, const std::filesystem::path& out,
                       const std::filesystem::path& latents = {});

/// Makes a run folder of a Hugging Face folder: a recipe with its model and a checkpoint at step 0.
void import_checkpoint(const std::filesystem::path& folder, const std::filesystem::path& out);

}  // namespace kiln
