#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/objective.h"
#include "core/recipe/option_docs.h"
#include "core/recipe/recipe_reader.h"

namespace kiln {

class CountedModel;
struct InterchangeFormat;

/// `kiln eval NAME` of a family's own; the objective offers it as Measurable.
struct OwnEvaluation {
  std::string name;
  std::string summary;      // one line of `kiln eval --help`
  bool fills_gaps = false;  // the objective is a WordPredictor as well: --text
};

/// What launch/ needs from models/: one row per model in the table in registry.cpp. Adding a model
/// is a folder, a row, a recipe, a test (CONTRIBUTING.md). Members behind `make` may be left out.
struct ModelEntry {
  std::string name;
  std::string data_kind;  // of the table of kinds of data: "image", "text", "latent" ...
  std::string summary;    // one line for `kiln train --help`
  /// Reads [model] through `reader`, adds its problems to it, and builds the network with weights
  /// drawn from Philox(run.seed, Purpose::kInit, index of the parameter): the same on any machine.
  /// Null when it added problems: reader.finish() reports them.
  std::unique_ptr<Objective> (*make)(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data);
  bool takes_views = false;  // trains on "image.0", "image.1", ... where the recipe lists views
  std::vector<OwnEvaluation> evaluations = {};
  /// The keys of [draw] that configure_drawing() reads (models/capabilities.h).
  std::vector<OptionDoc> (*drawing)() = nullptr;
  /// Its layouts on the Hugging Face hub.
  std::vector<InterchangeFormat> (*formats)() = nullptr;
};

const std::vector<ModelEntry>& model_table();
/// Families of another program, added to the table. Called once, before the table is used; throws
/// Error(kUsage) where a name is there already.
void add_models(std::span<const ModelEntry> models);
/// Throws Error(kUsage) with the nearest known name; where `name` is empty, with all.
const ModelEntry& find_model(const std::string& name);

/// A model that is counted from a text (models/capabilities.h): `kiln eval NAME`.
struct CountedModelEntry {
  std::string name;
  std::string summary;
  std::unique_ptr<CountedModel> (*make)();
};
const std::vector<CountedModelEntry>& counted_model_table();

}  // namespace kiln
