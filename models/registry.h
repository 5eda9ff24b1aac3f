#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/objective.h"
#include "core/recipe/recipe_reader.h"

namespace kiln {

/// What launch/ needs from models/: one row per model in the table in registry.cpp. Adding a model
/// is one header and source, one row, one recipe, one test.
struct ModelEntry {
  std::string name;
  std::string data_kind;  // "image", "text", "pairs", "latent"
  std::string summary;    // one line for `kiln train --help`
  /// Reads [model] through `reader`, adds its problems to it, and builds the network with weights
  /// drawn from Philox(run.seed, Purpose::kInit, index of the parameter): the same on any machine.
  /// Null when it added problems: reader.finish() reports them.
  std::unique_ptr<Objective> (*make)(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data);
  bool takes_views = false;  // trains on "image.0", "image.1", ... where the recipe lists views
};

const std::vector<ModelEntry>& model_table();
/// Families of another program, added to the table. Called once, before the table is used; throws
/// Error(kUsage) where a name is there already.
void add_models(std::span<const ModelEntry> models);
/// Throws Error(kUsage) with the nearest known name.
const ModelEntry& find_model(const std::string& name);

}  // namespace kiln
