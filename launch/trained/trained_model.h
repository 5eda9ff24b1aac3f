#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/objective.h"
#include "core/recipe/recipe_reader.h"
#include "launch/run/training_setup.h"

namespace kiln {

struct TrainedModelArgs {
  std::string path;                         // a run, one of its checkpoints, a Hugging Face folder
  std::vector<std::string> overrides = {};  // section.key=value
  bool is_untrained = false;                // initial weights of the same recipe instead
  /// Opens the dataset of eval.path, or data.path; else the run's datasets need not be there any
  /// more.
  bool reads_data = true;
};

/// A trained network and the recipe that describes it, wherever it comes from. On the host, in
/// evaluation mode; weights are the moving average where there is one.
struct TrainedModel {
  /// Without a dataset on record, as in a run that `kiln import` made, or where none is asked for,
  /// `data` has no source and says what the model expects. Throws Error(kUsage, kData, kCheckpoint).
  static TrainedModel open(const TrainedModelArgs& args);

  std::string path;  // as given
  RecipeReader reader;
  Recipe recipe = {};
  std::string data_kind = {};
  OpenedData data = {};
  std::unique_ptr<Objective> objective = nullptr;
  std::string name = {};                  // "step-000000100", "untrained", a folder's name
  std::filesystem::path run_folder = {};  // empty for Hugging Face folders

  /// What the objective offers (models/capabilities.h); null where it does not.
  template <typename Capability>
  Capability* find() const {
    return dynamic_cast<Capability*>(objective.get());
  }
  /// Throws Error(kUsage) saying that PATH `lacks` it: "is no encoder".
  template <typename Capability>
  Capability& as(const char* lacks) const {
    if (Capability* found = find<Capability>()) return *found;
    throw usage_error("'{}' {}", path, lacks);
  }
};

/// The run a path belongs to: itself, or RUN of RUN/checkpoints/step-N. Throws Error(kUsage).
std::filesystem::path run_folder_of(const std::filesystem::path& path);

/// The recipe of a model that comes without one: its [model] and [data] sections, and values of the
/// others that no evaluation looks at. `model_section`: TOML.
std::string hub_recipe(const std::string& model_section, const DatasetInfo& data);

/// weights_hash of the weights in use: of the moving average, where that was loaded.
std::string hash_of_weights(Objective& objective);

}  // namespace kiln
