#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/dataset_info.h"
#include "core/recipe/options.h"
#include "models/bert/bert.h"
#include "models/bert/masking.h"

namespace kiln {

/// [model] of a recipe with model.name = "bert". A preset gives all sizes; keys beside it replace
/// single ones.
struct BertOptions {
  std::string name = "bert";
  std::string preset = "base";
  std::optional<std::int64_t> dim, depth, heads, mlp_dim;
  std::int64_t max_positions = 512;
  std::string gelu = "erf";
  double layer_norm_eps = 1e-12;
  double init_std = 0.02;
  std::string position_init = "normal";
  double dropout = 0.1;
  double attention_dropout = 0.1;
  std::string head = "mlm";
  std::string masking = "token";
  double mask_share = 0.15;
  std::int64_t max_predictions = 0;

  template <typename Visitor>
  void describe_network(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    visit("preset", preset,
          "Sizes: tiny | mini | small | base | large; the keys below replace single ones.",
          kIdentity);
    visit("dim", dim, "Width.", kIdentity);
    visit("depth", depth, "Blocks.", kIdentity);
    visit("heads", heads, "Attention heads.", kIdentity);
    visit("mlp_dim", mlp_dim, "Hidden width of the MLPs; default 4 * dim.", kIdentity);
    visit("max_positions", max_positions, "Rows of the table of positions.", kIdentity);
    visit("gelu", gelu, "erf (exact) | tanh (approximation)", kIdentity);
    visit("layer_norm_eps", layer_norm_eps, "Added to the variance in layer norms.", kIdentity);
    visit("init_std", init_std,
          "Standard deviation of initial weights; 0.02 as published, which for narrow networks is "
          "far below 1/sqrt(dim).",
          kIdentity);
    visit("position_init", position_init,
          "Position embeddings before training: normal, as published | waves: sines and cosines, "
          "learned from there on; a small network then finds neighbouring words many times sooner.",
          kIdentity);
    visit("dropout", dropout, "Of embeddings and of each branch.", kIdentity);
    visit("attention_dropout", attention_dropout, "Of the attention weights.", kIdentity);
  }
  template <typename Visitor>
  void describe(Visitor& visit) {
    describe_network(visit);
    visit("head", head,
          "mlm: that of pretraining, with one for pairs where the data has them | pooler, none: an "
          "encoder alone.",
          kIdentity);
    visit("masking", masking, "What is masked together: token | whole_word | span.", kIdentity);
    visit("mask_share", mask_share, "Share of tokens to predict.", kIdentity);
    visit("max_predictions", max_predictions, "At most so many per sequence; 0: no limit.",
          kIdentity);
  }

  /// Fills what preset and defaults imply. False if there is no such preset.
  bool resolve();
  /// What is wrong with the choices made by name, in the words of a recipe.
  std::vector<std::string> problems(const DatasetInfo& data) const;
  /// After resolve(). Vocabulary and pairs come from the data.
  BertShape shape(const DatasetInfo& data) const;
  MaskingOptions masking_options(const DatasetInfo& data) const;
  /// Options that give this shape.
  static BertOptions of(const BertShape& shape);
};

}  // namespace kiln
