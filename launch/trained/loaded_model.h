#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/objective.h"

namespace kiln {

/// A trained model to be used, not evaluated on its data.
struct LoadedModel {
  std::unique_ptr<Objective> objective = nullptr;  // on the host, moving average where there is one
  std::string name = {};                           // "step-000000100", a folder's name
  std::filesystem::path run_folder = {};           // empty for Hugging Face folders
  DatasetInfo data = {};                           // what it takes
};

/// From a run, one of its checkpoints, or a Hugging Face folder.
LoadedModel load_model(const std::filesystem::path& path,
                       const std::vector<std::string>& overrides = {});

/// weights_hash of the weights in use: of the moving average, where that was loaded.
std::string hash_of_weights(Objective& objective);

}  // namespace kiln
