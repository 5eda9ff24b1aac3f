#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/recipe/options.h"
#include "models/vit/vit.h"

namespace kiln {

/// Sizes of the published models.
struct VitPreset {
  const char* name;
  std::int64_t patch, dim, depth, heads;
  std::int64_t decoder_dim, decoder_depth, decoder_heads;
};

std::vector<std::string> vit_preset_names();

/// Keys of [model] that every model around a ViT has. A preset gives all sizes; keys beside it
/// replace single ones.
struct VitOptions {
  std::string preset = "base";
  std::optional<std::int64_t> patch, dim, depth, heads, mlp_dim;
  double layer_norm_eps = 1e-6;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("preset", preset,
          "Sizes: tiny | base | large | huge; the keys below replace single ones.", kIdentity);
    visit("patch", patch, "Side of a patch in pixels.", kIdentity);
    visit("dim", dim, "Width of the encoder.", kIdentity);
    visit("depth", depth, "Blocks of the encoder.", kIdentity);
    visit("heads", heads, "Attention heads of the encoder.", kIdentity);
    visit("mlp_dim", mlp_dim, "Hidden width of the encoder's MLPs; default 4 * dim.", kIdentity);
    visit("layer_norm_eps", layer_norm_eps, "Added to the variance in layer norms.", kIdentity);
  }

  /// The keys that lead back to a shape.
  void take(const VitShape& shape);
  /// Fills what the preset implies, and returns it; null if there is none of that name.
  const VitPreset* resolve_sizes();
  /// After resolve_sizes(). Image size and channels come from the data.
  VitShape encoder_shape(const DatasetInfo& data) const;
};

}  // namespace kiln
