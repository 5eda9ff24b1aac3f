#include "core/nearest_name.h"
#include "models/mae_options.h"
#include "models/vit_classifier.h"

namespace kiln {

ClassifierOptions ClassifierOptions::of(const ClassifierShape& shape) {
  ClassifierOptions options;
  options.patch = shape.encoder.patch;
  options.dim = shape.encoder.dim;
  options.depth = shape.encoder.depth;
  options.heads = shape.encoder.heads;
  options.mlp_dim = shape.encoder.mlp_dim;
  options.pool = shape.pool == Pool::kMean ? "mean" : "cls";
  options.classes = shape.num_classes;
  options.learned_positions = shape.encoder.has_learned_positions;
  options.drop_path = shape.encoder.drop_path;
  options.layer_norm_eps = shape.encoder.layer_norm_eps;
  return options;
}

void ClassifierOptions::resolve(const DatasetInfo& data, std::vector<std::string>& problems) {
  const VitPreset* found = find_vit_preset(preset);
  if (found == nullptr) {
    problems.push_back(unknown_name("model.preset", preset, vit_preset_names()));
  } else {
    patch = patch.value_or(found->patch);
    dim = dim.value_or(found->dim);
    depth = depth.value_or(found->depth);
    heads = heads.value_or(found->heads);
    mlp_dim = mlp_dim.value_or(4 * *dim);
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
  classes = classes.value_or(static_cast<std::int64_t>(data.class_names.size()));
}

ClassifierShape ClassifierOptions::shape(const DatasetInfo& data) const {
  const VitShape encoder = {.height = data.height,
                            .width = data.width,
                            .channels = data.channels,
                            .patch = *patch,
                            .dim = *dim,
                            .depth = *depth,
                            .heads = *heads,
                            .mlp_dim = *mlp_dim,
                            .layer_norm_eps = layer_norm_eps,
                            .has_learned_positions = learned_positions,
                            .drop_path = drop_path};
  return classifier_shape(encoder, pool == "mean" ? Pool::kMean : Pool::kCls, *classes);
}

}  // namespace kiln
