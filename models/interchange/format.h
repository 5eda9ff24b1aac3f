#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/objective.h"
#include "core/recipe/recipe_reader.h"
#include "models/interchange/names.h"

namespace kiln {

/// One model's layout on the hub, named by the model's row (ModelEntry::formats): its name table and
/// its two directions of config.json.
struct InterchangeFormat {
  std::string model_type;  // of config.json, or _class_name of diffusers
  std::vector<NameAlias> aliases;

  /// Export: what config.json says of an objective, and the names of its tensors. `config` gives
  /// null for objectives of another model.
  nlohmann::ordered_json (*config)(Objective& objective);
  NameTable (*names)(Objective& objective);
  /// Gives a second file of this name beside config.json, or null; may be nullptr.
  nlohmann::ordered_json (*preprocessor)(Objective& objective);
  const char* preprocessor_file = "preprocessor_config.json";

  /// Import: an objective of that shape with weights unset, the text of its [model] section, and
  /// the data it expects. `preprocessor` is null where there is no such file.
  struct Made {
    std::unique_ptr<Objective> objective;
    std::string recipe;
    DatasetInfo data;
  };
  Made (*make)(const nlohmann::json& config, const nlohmann::json& preprocessor,
               const std::string& origin) = nullptr;

  /// For models published in several layouts; may be nullptr. `normalise` brings tensors of any of
  /// them to the names of the table, after the aliases. `make_from_tensors` stands in for `make`
  /// where config.json does not tell which heads there are.
  NamedTensors (*normalise)(const NamedTensors& theirs, const std::string& origin) = nullptr;
  Made (*make_from_tensors)(const nlohmann::json& config, const NamedTensors& theirs,
                            const std::string& origin) = nullptr;
};

const std::vector<InterchangeFormat>& interchange_formats();

/// TOML of a [model] section holding every key of `options`.
template <typename Options>
std::string model_section(Options& options) {
  RecipeReader reader = RecipeReader::from_text("", "import", {});
  reader.read("model", options);
  return reader.resolved_toml();
}

}  // namespace kiln
