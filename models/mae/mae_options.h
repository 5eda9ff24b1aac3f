#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/recipe/recipe_reader.h"
#include "models/mae/mae.h"
#include "models/vit/vit_options.h"

namespace kiln {

/// [model] of a recipe with model.name = "mae".
struct MaeOptions : VitOptions {
  std::string name = "mae";
  std::optional<std::int64_t> decoder_dim, decoder_depth, decoder_heads, decoder_mlp_dim;
  double mask_ratio = 0.75;
  bool norm_pix = true;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    VitOptions::describe(visit);
    visit("decoder_dim", decoder_dim, "Width of the decoder.", kIdentity);
    visit("decoder_depth", decoder_depth, "Blocks of the decoder.", kIdentity);
    visit("decoder_heads", decoder_heads, "Attention heads of the decoder.", kIdentity);
    visit("decoder_mlp_dim", decoder_mlp_dim, "Default 4 * decoder_dim.", kIdentity);
    visit("mask_ratio", mask_ratio, "Share of patches hidden from the encoder.", kIdentity);
    visit("norm_pix", norm_pix, "Predict each patch normalised by its own mean and variance.",
          kIdentity);
  }

  /// Options that lead back to a shape.
  static MaeOptions of(const MaeShape& shape);
  /// Fills what preset and defaults imply. False if there is no such preset.
  bool resolve();
  /// After resolve().
  MaeShape shape(const DatasetInfo& data) const;
};

/// Row of the table of models.
std::unique_ptr<Objective> make_mae(RecipeReader& reader, const Recipe& recipe,
                                    const DatasetInfo& data);

}  // namespace kiln
