#include "models/mae/mae_options.h"

#include "core/base/nearest_name.h"
#include "core/torch.h"
#include "models/layers/parameters.h"

namespace kiln {

bool MaeOptions::resolve() {
  const VitPreset* found = resolve_sizes();
  if (found == nullptr) return false;
  decoder_dim = decoder_dim.value_or(found->decoder_dim);
  decoder_depth = decoder_depth.value_or(found->decoder_depth);
  decoder_heads = decoder_heads.value_or(found->decoder_heads);
  decoder_mlp_dim = decoder_mlp_dim.value_or(4 * *decoder_dim);
  return true;
}

MaeOptions MaeOptions::of(const MaeShape& shape) {
  MaeOptions options;
  options.take(shape.encoder);
  options.decoder_dim = shape.decoder_dim;
  options.decoder_depth = shape.decoder_depth;
  options.decoder_heads = shape.decoder_heads;
  options.decoder_mlp_dim = shape.decoder_mlp_dim;
  options.mask_ratio = shape.mask_ratio;
  options.norm_pix = shape.has_normalised_targets;
  return options;
}

MaeShape MaeOptions::shape(const DatasetInfo& data) const {
  MaeShape shape;
  shape.encoder = encoder_shape(data);
  shape.decoder_dim = *decoder_dim;
  shape.decoder_depth = *decoder_depth;
  shape.decoder_heads = *decoder_heads;
  shape.decoder_mlp_dim = *decoder_mlp_dim;
  shape.mask_ratio = mask_ratio;
  shape.has_normalised_targets = norm_pix;
  return shape;
}

std::unique_ptr<Objective> make_mae(RecipeReader& reader, const Recipe& recipe,
                                    const DatasetInfo& data) {
  MaeOptions options;
  reader.read("model", options);
  if (!options.resolve()) {
    reader.problem(unknown_name("model.preset", options.preset, vit_preset_names()));
    return nullptr;
  }
  reader.update("model", options);
  const MaeShape shape = options.shape(data);
  const std::vector<std::string> problems = shape.problems();
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  auto objective = std::make_unique<MaeObjective>(shape, PixelNormalisation(data.mean, data.std),
                                                  at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
