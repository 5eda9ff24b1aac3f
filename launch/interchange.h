#pragma once

#include <filesystem>

namespace kiln {

/// Writes the weights of a run or checkpoint as a Hugging Face folder.
void export_checkpoint(const std::filesystem::path& checkpoint, const std::filesystem::path& out);

/// Makes a run folder of a Hugging Face folder: a recipe with its model and a checkpoint at step 0.
void import_checkpoint(const std::filesystem::path& folder, const std::filesystem::path& out);

}  // namespace kiln
