#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/recipe/options.h"
#include "core/recipe/recipe.h"
#include "core/recipe/recipe_reader.h"
#include "models/gpt/image_gpt.h"

namespace kiln {

/// [model] of a recipe with model.name = "igpt". A preset gives the sizes; keys beside it replace
/// single ones.
struct ImageGptOptions {
  std::string name = "igpt";
  std::string preset = "igpt_s";
  std::optional<std::int64_t> dim, depth, heads;
  std::string task = "next";
  std::int64_t levels = 16;
  double mask_share = 0.15;
  double dropout = 0.0;
  double attention_dropout = 0.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    visit("preset", preset,
          "Sizes: igpt_tiny | igpt_s | igpt_m | igpt_l; the keys below replace single ones.",
          kIdentity);
    visit("dim", dim, "Width.", kIdentity);
    visit("depth", depth, "Blocks.", kIdentity);
    visit("heads", heads, "Attention heads.", kIdentity);
    visit("task", task,
          "next: each pixel from those before it | masked: masked pixels from all others.",
          kIdentity);
    visit("levels", levels, "Grey levels that a pixel is rounded to, 2 to 256.", kIdentity);
    visit("mask_share", mask_share, "Probability that a pixel is masked (task = \"masked\").",
          kIdentity);
    visit("dropout", dropout, "Of embeddings and of each branch.", kIdentity);
    visit("attention_dropout", attention_dropout, "Of the attention weights.", kIdentity);
  }

  /// Fills what the preset implies. False if there is no such preset.
  bool resolve();
  /// What is wrong with the choices and the data, in the words of a recipe. After resolve().
  std::vector<std::string> problems(const DatasetInfo& data) const;
  ImageGptShape shape(const DatasetInfo& data) const;
};

/// Row of the table of models.
std::unique_ptr<Objective> make_igpt(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data);

}  // namespace kiln
