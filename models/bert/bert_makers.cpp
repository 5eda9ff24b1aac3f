#include <optional>

#include "core/base/nearest_name.h"
#include "core/torch.h"
#include "models/bert/bert_classifier.h"
#include "models/bert/bert_objective.h"
#include "models/bert/bert_options.h"
#include "models/layers/parameters.h"

namespace kiln {
namespace {

/// [model] of the models around BERT, resolved and checked; nothing, with the problems reported, if
/// anything is wrong.
template <typename Options>
std::optional<Options> read_bert_options(RecipeReader& reader, const DatasetInfo& data) {
  Options options;
  reader.read("model", options);
  if (!options.resolve()) {
    reader.problem(
        unknown_name("model.preset", options.preset, {"tiny", "mini", "small", "base", "large"}));
    return {};
  }
  reader.update("model", options);
  const std::vector<std::string> problems = options.problems(data);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return {};
  return options;
}

}  // namespace

std::unique_ptr<Objective> make_bert(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data) {
  const auto options = read_bert_options<BertOptions>(reader, data);
  if (!options) return nullptr;
  auto objective =
      std::make_unique<BertObjective>(options->shape(data), options->masking_options(data),
                                      at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

std::unique_ptr<Objective> make_bert_classifier(RecipeReader& reader, const Recipe& recipe,
                                                const DatasetInfo& data) {
  const auto options = read_bert_options<BertClassifierOptions>(reader, data);
  if (!options) return nullptr;
  auto objective = std::make_unique<BertClassifierObjective>(
      options->classifier_shape(data), options->text_pool(),
      static_cast<std::int64_t>(data.class_names.size()), at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
