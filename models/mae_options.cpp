#include "models/mae_options.h"

#include <algorithm>
#include <array>

namespace kiln {
namespace {

// base, large and huge as in arXiv:2111.06377; tiny is for images of about 28 pixels.
constexpr std::array kPresets = {
    VitPreset{"tiny", 4, 64, 3, 4, 48, 2, 3},
    VitPreset{"base", 16, 768, 12, 12, 512, 8, 16},
    VitPreset{"large", 16, 1024, 24, 16, 512, 8, 16},
    VitPreset{"huge", 14, 1280, 32, 16, 512, 8, 16},
};

void fill(std::optional<std::int64_t>& value, std::int64_t fallback) {
  if (!value) value = fallback;
}

}  // namespace

const VitPreset* find_vit_preset(const std::string& name) {
  const auto found = std::ranges::find(kPresets, name, &VitPreset::name);
  return found == kPresets.end() ? nullptr : &*found;
}

std::vector<std::string> vit_preset_names() {
  std::vector<std::string> names;
  for (const VitPreset& preset : kPresets) names.emplace_back(preset.name);
  return names;
}

bool MaeOptions::resolve() {
  const VitPreset* found = find_vit_preset(preset);
  if (found == nullptr) return false;
  fill(patch, found->patch);
  fill(dim, found->dim);
  fill(depth, found->depth);
  fill(heads, found->heads);
  fill(mlp_dim, 4 * *dim);
  fill(decoder_dim, found->decoder_dim);
  fill(decoder_depth, found->decoder_depth);
  fill(decoder_heads, found->decoder_heads);
  fill(decoder_mlp_dim, 4 * *decoder_dim);
  return true;
}

MaeOptions MaeOptions::of(const MaeShape& shape) {
  MaeOptions options;
  options.patch = shape.encoder.patch;
  options.dim = shape.encoder.dim;
  options.depth = shape.encoder.depth;
  options.heads = shape.encoder.heads;
  options.mlp_dim = shape.encoder.mlp_dim;
  options.decoder_dim = shape.decoder_dim;
  options.decoder_depth = shape.decoder_depth;
  options.decoder_heads = shape.decoder_heads;
  options.decoder_mlp_dim = shape.decoder_mlp_dim;
  options.mask_ratio = shape.mask_ratio;
  options.norm_pix = shape.has_normalised_targets;
  options.layer_norm_eps = shape.encoder.layer_norm_eps;
  return options;
}

MaeShape MaeOptions::shape(const DatasetInfo& data) const {
  MaeShape shape;
  shape.encoder = {.height = data.height,
                   .width = data.width,
                   .channels = data.channels,
                   .patch = *patch,
                   .dim = *dim,
                   .depth = *depth,
                   .heads = *heads,
                   .mlp_dim = *mlp_dim,
                   .layer_norm_eps = layer_norm_eps};
  shape.decoder_dim = *decoder_dim;
  shape.decoder_depth = *decoder_depth;
  shape.decoder_heads = *decoder_heads;
  shape.decoder_mlp_dim = *decoder_mlp_dim;
  shape.mask_ratio = mask_ratio;
  shape.has_normalised_targets = norm_pix;
  return shape;
}

}  // namespace kiln
