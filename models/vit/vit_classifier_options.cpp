#include "core/base/nearest_name.h"
#include "core/torch.h"
#include "models/layers/parameters.h"
#include "models/vit/vit_classifier.h"

namespace kiln {

ClassifierOptions ClassifierOptions::of(const ClassifierShape& shape) {
  ClassifierOptions options;
  options.take(shape.encoder);
  options.pool = shape.pool == Pool::kMean ? "mean" : "cls";
  options.classes = shape.num_classes;
  options.learned_positions = shape.encoder.has_learned_positions;
  options.probe = shape.is_probe;
  options.drop_path = shape.encoder.drop_path;
  return options;
}

void ClassifierOptions::resolve(const DatasetInfo& data, std::vector<std::string>& problems) {
  if (!resolve_sizes()) {
    problems.push_back(unknown_name("model.preset", preset, vit_preset_names()));
  }
  if (pool != "mean" && pool != "cls") {
    problems.push_back(unknown_name("model.pool", pool, {"mean", "cls"}));
  }
  for (const auto& [key, value] :
       {std::pair{"drop_path", drop_path}, {"label_smoothing", label_smoothing}}) {
    if (value < 0.0 || value >= 1.0) {
      problems.push_back(std::string("model.") + key + " must be at least 0 and below 1");
    }
  }
  if (probe && pool != "cls") {
    problems.push_back("model.probe reads the class token: set model.pool = \"cls\"");
  }
  classes = classes.value_or(static_cast<std::int64_t>(data.class_names.size()));
}

ClassifierShape ClassifierOptions::shape(const DatasetInfo& data) const {
  VitShape encoder = encoder_shape(data);
  encoder.has_learned_positions = learned_positions;
  encoder.drop_path = drop_path;
  ClassifierShape shape =
      classifier_shape(encoder, pool == "mean" ? Pool::kMean : Pool::kCls, *classes);
  shape.is_probe = probe;
  return shape;
}

std::unique_ptr<Objective> make_vit(RecipeReader& reader, const Recipe& recipe,
                                    const DatasetInfo& data) {
  ClassifierOptions options;
  reader.read("model", options);
  std::vector<std::string> problems;
  options.resolve(data, problems);
  reader.update("model", options);
  if (problems.empty()) problems = options.shape(data).problems();
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  const ClassifierLoss loss{
      options.label_smoothing, {options.mixup, options.cutmix}, recipe.optimizer.layer_decay};
  auto objective = std::make_unique<ClassifierObjective>(options.shape(data), loss,
                                                         PixelNormalisation(data.mean, data.std),
                                                         at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
