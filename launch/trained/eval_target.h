#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/objective.h"
#include "core/recipe/recipe_reader.h"
#include "launch/run/training_setup.h"
#include "models/interchange/huggingface.h"

namespace kiln {

/// A trained network and the recipe that describes it.
struct EvalTarget {
  RecipeReader reader;
  Recipe recipe = {};
  std::string data_kind = {};
  OpenedData data = {};  // eval.path; data.path where that is not given
  std::unique_ptr<Objective> objective = nullptr;
  std::string name = {};                  // "step-000000100", "untrained", a folder's name
  std::filesystem::path run_folder = {};  // empty for Hugging Face folders
};

struct TargetArgs {
  std::string path;                    // a run, one of its checkpoints, or a Hugging Face folder
  std::vector<std::string> overrides;  // section.key=value
  bool is_untrained = false;           // initial weights of the same recipe instead
  bool reads_data = true;              // else the run's datasets need not be there any more
};

/// The run a path belongs to: itself, or RUN of RUN/checkpoints/step-N. Throws Error(kUsage).
std::filesystem::path run_folder_of(const std::filesystem::path& path);

/// Without a dataset on record, as in a run that `kiln import` made, `data` has no source and says
/// what the model expects.
/// Weights are the moving average where the checkpoint has one.
EvalTarget open_target(const TargetArgs& args);

/// The recipe of a model that comes without one: its [model] and [data] sections, and values of the
/// others that no evaluation looks at.
std::string hub_recipe(const ImportedModel& imported);

}  // namespace kiln
