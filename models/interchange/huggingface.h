#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "core/dataset_info.h"
#include "core/objective.h"

// Models in the layout of the Hugging Face hub: a folder with config.json and model.safetensors
// under the names that transformers and diffusers write and read, beside it
// preprocessor_config.json for models of images. Values travel unconverted: export and import of
// fp32 weights is exact to the bit.

namespace kiln {

/// Writes `objective` to `dir`, which is made if it is not there. Throws Error(kUsage) for a model
/// without such a layout and for a folder that already holds a model.
void export_huggingface(Objective& objective, const std::filesystem::path& dir);

struct ImportedModel {
  std::unique_ptr<Objective> objective;  // fp32, on the host
  std::string recipe;                    // TOML of a [model] section that describes it
  DatasetInfo data;                      // what it expects: image size, channels, normalisation
};

/// Throws Error(kCheckpoint): files missing, a model type without a table, keys of config.json that
/// cannot be followed, missing or unexpected tensors (all are named).
ImportedModel import_huggingface(const std::filesystem::path& dir);

/// Whether a folder looks like one of these.
bool is_huggingface_folder(const std::filesystem::path& dir);

}  // namespace kiln
