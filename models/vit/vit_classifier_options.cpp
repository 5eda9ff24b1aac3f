#include "core/base/nearest_name.h"
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

}  // namespace kiln
