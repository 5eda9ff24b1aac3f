#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/objective.h"
#include "core/recipe/recipe_reader.h"
#include "data/batch_source.h"

namespace kiln {

class LatentDiffusion;

/// Throws Error(kUsage) if `objective` draws by classes or texts and the samples of `data`, which
/// `path` stands for in messages, come without, or with embeddings of another width.
void check_conditions(Objective& objective, const BatchSource& data, const std::string& path);

/// Where an evaluation of a recipe finds texts when it is given none: eval.path, or data.path where
/// that is not set. Empty for models that do not draw by texts.
std::string texts_of_recipe(const LatentDiffusion& model, const RecipeReader& reader,
                            const Recipe& recipe);

/// Texts that pictures are to follow: the rows of a dataset's field "context", over and over.
class TextConditions {
 public:
  /// Throws Error(kData) if the dataset has none.
  explicit TextConditions(const std::string& path);
  const BatchSource& source() const { return *source_; }
  /// Of pictures number first .. first + count - 1: float16 [count, S, E]. Picture number n follows
  /// row n modulo the number of rows.
  at::Tensor rows(std::int64_t first, std::int64_t count) const;

 private:
  std::shared_ptr<const BatchSource> source_;
};

}  // namespace kiln
