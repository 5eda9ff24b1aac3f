#include "models/vit/vit_options.h"

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

}  // namespace

std::vector<std::string> vit_preset_names() {
  std::vector<std::string> names;
  for (const VitPreset& preset : kPresets) names.emplace_back(preset.name);
  return names;
}

void VitOptions::take(const VitShape& shape) {
  patch = shape.patch;
  dim = shape.dim;
  depth = shape.depth;
  heads = shape.heads;
  mlp_dim = shape.mlp_dim;
  layer_norm_eps = shape.layer_norm_eps;
}

const VitPreset* VitOptions::resolve_sizes() {
  const auto found = std::ranges::find(kPresets, preset, &VitPreset::name);
  if (found == kPresets.end()) return nullptr;
  patch = patch.value_or(found->patch);
  dim = dim.value_or(found->dim);
  depth = depth.value_or(found->depth);
  heads = heads.value_or(found->heads);
  mlp_dim = mlp_dim.value_or(4 * *dim);
  return &*found;
}

VitShape VitOptions::encoder_shape(const DatasetInfo& data) const {
  return {.height = data.height,
          .width = data.width,
          .channels = data.channels,
          .patch = *patch,
          .dim = *dim,
          .depth = *depth,
          .heads = *heads,
          .mlp_dim = *mlp_dim,
          .layer_norm_eps = layer_norm_eps};
}

}  // namespace kiln
