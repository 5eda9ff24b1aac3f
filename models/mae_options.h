#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/dataset_info.h"
#include "core/options.h"
#include "models/mae.h"

namespace kiln {

/// Sizes of the published models; null for an unknown name.
struct VitPreset {
  const char* name;
  std::int64_t patch, dim, depth, heads;
  std::int64_t decoder_dim, decoder_depth, decoder_heads;
};
const VitPreset* find_vit_preset(const std::string& name);
std::vector<std::string> vit_preset_names();

/// [model] of a recipe with model.name = "mae". A preset gives all sizes; keys beside it replace
/// single ones.
struct MaeOptions {
  std::string name = "mae";
  std::string preset = "base";
  std::optional<std::int64_t> patch, dim, depth, heads, mlp_dim;
  std::optional<std::int64_t> decoder_dim, decoder_depth, decoder_heads, decoder_mlp_dim;
  double mask_ratio = 0.75;
  bool norm_pix = true;
  double layer_norm_eps = 1e-6;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    visit("preset", preset,
          "Sizes: tiny | base | large | huge; the keys below replace single ones.", kIdentity);
    visit("patch", patch, "Side of a patch in pixels.", kIdentity);
    visit("dim", dim, "Width of the encoder.", kIdentity);
    visit("depth", depth, "Blocks of the encoder.", kIdentity);
    visit("heads", heads, "Attention heads of the encoder.", kIdentity);
    visit("mlp_dim", mlp_dim, "Hidden width of the encoder's MLPs; default 4 * dim.", kIdentity);
    visit("decoder_dim", decoder_dim, "Width of the decoder.", kIdentity);
    visit("decoder_depth", decoder_depth, "Blocks of the decoder.", kIdentity);
    visit("decoder_heads", decoder_heads, "Attention heads of the decoder.", kIdentity);
    visit("decoder_mlp_dim", decoder_mlp_dim, "Default 4 * decoder_dim.", kIdentity);
    visit("mask_ratio", mask_ratio, "Share of patches hidden from the encoder.", kIdentity);
    visit("norm_pix", norm_pix, "Predict each patch normalised by its own mean and variance.",
          kIdentity);
    visit("layer_norm_eps", layer_norm_eps, "Added to the variance in layer norms.", kIdentity);
  }

  /// Options that lead back to a shape.
  static MaeOptions of(const MaeShape& shape);
  /// Fills what preset and defaults imply. False if there is no such preset.
  bool resolve();
  /// After resolve(). Image size and channels come from the data.
  MaeShape shape(const DatasetInfo& data) const;
};

}  // namespace kiln
