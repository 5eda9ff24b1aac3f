#include "models/gpt/image_gpt_options.h"

#include <fmt/format.h>

#include "core/base/nearest_name.h"
#include "models/layers/parameters.h"

namespace kiln {

bool ImageGptOptions::resolve() {
  GptShape found;
  if (!preset.starts_with("igpt_") || !set_gpt_preset(found, preset)) return false;
  dim = dim.value_or(found.dim);
  depth = depth.value_or(found.depth);
  heads = heads.value_or(found.heads);
  return true;
}

std::vector<std::string> ImageGptOptions::problems(const DatasetInfo& data) const {
  std::vector<std::string> found = shape(data).problems();
  if (task != "next" && task != "masked") {
    found.push_back(fmt::format("model.task = \"{}\"; next or masked", task));
  }
  if (data.channels != 1) {
    found.push_back(fmt::format(
        "model.name = \"igpt\" takes grey pictures, and those of data.path have {} channels",
        data.channels));
  }
  return found;
}

ImageGptShape ImageGptOptions::shape(const DatasetInfo& data) const {
  ImageGptShape shape;
  shape.height = data.height;
  shape.width = data.width;
  shape.task = task == "masked" ? ImageGptTask::kMasked : ImageGptTask::kNext;
  shape.mask_share = mask_share;
  shape.gpt.vocab_size = levels + 1;
  shape.gpt.num_outputs = levels;
  shape.gpt.max_positions = data.height * data.width;
  shape.gpt.dim = *dim;
  shape.gpt.depth = *depth;
  shape.gpt.heads = *heads;
  shape.gpt.dropout = dropout;
  shape.gpt.attention_dropout = attention_dropout;
  return shape;
}

std::unique_ptr<Objective> make_igpt(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data) {
  ImageGptOptions options;
  reader.read("model", options);
  if (!options.resolve()) {
    reader.problem(
        unknown_name("model.preset", options.preset, {"igpt_tiny", "igpt_s", "igpt_m", "igpt_l"}));
    return nullptr;
  }
  reader.update("model", options);
  const std::vector<std::string> problems = options.problems(data);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  auto objective = std::make_unique<ImageGptObjective>(options.shape(data),
                                                       at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
