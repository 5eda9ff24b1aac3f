#pragma once

#include <memory>
#include <string>

#include "core/recipe/recipe.h"
#include "core/recipe/recipe_reader.h"
#include "models/siamese/momentum_objective.h"

// N pictures of the global batch, K keys of each queue, T temperature.

namespace kiln {

/// MoBY (Xie et al., arXiv:2105.04553): a predictor and both views as in BYOL, queues as in MoCo v2,
/// one for each view:
///   L = ctr(q of view 0; k of view 1, queue of view 1) + ctr(q of view 1; k of view 0, queue of 0)
///   ctr = mean over i of -log softmax([q_i . k_i, q_i . queue_1 ... q_i . queue_K] / T)[0]
class MobyObjective final : public MomentumObjective {
 public:
  MobyObjective(const MomentumShape& shape, std::int64_t queue, double temperature,
                PixelNormalisation pixels, const at::TensorOptions& options);
  void initialise(std::uint64_t seed) override;
  Loss couple(const Rows& all, const StepContext& context, std::size_t phase) override;
  void after_step(const StepContext& context, const Sums& sums, const Rows& rows) override;

 private:
  double temperature_;
  KeyQueue queue1_, queue2_;
};

/// A hidden layer with bias, batch norm and ReLU, and a linear one: MoBY's projector and predictor.
std::vector<HeadLayer> moby_head(std::int64_t hidden, std::int64_t out);

/// [model] of a recipe with model.name = "moby".
struct MobyOptions : BackboneOptions {
  MobyOptions() { backbone = "vit"; }
  std::string name = "moby";
  std::int64_t hidden = 4096, out = 256, queue = 4096;
  double temperature = 0.2;
  double momentum = 0.99;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    BackboneOptions::describe(visit);
    visit("hidden", hidden, "Hidden width of projector and predictor.", kIdentity);
    visit("out", out, "Width of the projections.", kIdentity);
    visit("queue", queue, "Keys of earlier batches, for each view.", kIdentity);
    visit("temperature", temperature, "Divides the cosines in the loss.", kIdentity);
    visit("momentum", momentum, "Of the key network, rising to 1 by a half cosine.", kIdentity);
  }
};

/// Row of the table of models.
std::unique_ptr<Objective> make_moby(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data);

}  // namespace kiln
