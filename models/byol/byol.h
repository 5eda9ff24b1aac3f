#pragma once

#include <memory>
#include <string>

#include "core/recipe/recipe.h"
#include "core/recipe/recipe_reader.h"
#include "models/siamese/momentum_objective.h"

// N pictures of the global batch.

namespace kiln {

/// BYOL (Grill et al., arXiv:2006.07733), equation 2, without negatives:
///   L = mean over i of (2 - 2 q_i . k_i), q of view 0 and k of view 1, plus the same with the views
///   exchanged
class ByolObjective final : public MomentumObjective {
 public:
  using MomentumObjective::MomentumObjective;
  Loss couple(const Rows& all, const StepContext& context, std::size_t phase) override;
};

/// [model] of a recipe with model.name = "byol".
struct ByolOptions : BackboneOptions {
  std::string name = "byol";
  std::int64_t hidden = 4096, out = 256;
  double momentum = 0.996;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    BackboneOptions::describe(visit);
    visit("hidden", hidden, "Hidden width of projector and predictor.", kIdentity);
    visit("out", out, "Width of the projections.", kIdentity);
    visit("momentum", momentum, "Of the target network, rising to 1 by a half cosine.", kIdentity);
  }
};

/// Row of the table of models.
std::unique_ptr<Objective> make_byol(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data);

}  // namespace kiln
