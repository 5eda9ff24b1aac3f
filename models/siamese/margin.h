#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/recipe/recipe.h"
#include "core/recipe/recipe_reader.h"
#include "models/siamese/view_objective.h"

// B pictures of a micro-batch, D width of the map.

namespace kiln {

struct MarginShape {
  BackboneShape backbone;
  std::int64_t hidden = 128;
  std::int64_t out = 2;
  double margin = 1.0;
  bool has_zero_last_gamma = true;
};

/// A siamese network with the margin loss of pairs (Hadsell et al., CVPR 2006): pictures of one
/// label are drawn together, others are pushed apart up to a margin, in a map of few dimensions.
/// The mean is over all pairs of each micro-batch, since they are what the loss needs.
///
/// Batches: "image" [B, H, W, C] and "label" [B].
class MarginObjective final : public Objective, public FeatureExtractor {
 public:
  MarginObjective(const MarginShape& shape, PixelNormalisation pixels,
                  const at::TensorOptions& options);
  void initialise(std::uint64_t seed);

  torch::nn::Module& module() override { return *encoder_; }
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  std::vector<Buffer> buffers() override { return running_statistics(*encoder_); }
  Sums sums(std::size_t) override { return norms_.sums(); }
  void after_step(const StepContext&, const Sums& sums, const Rows&) override { norms_.move(sums); }
  /// "map": the network's output; "backbone": before its head.
  std::vector<std::string> poolings() const override { return {"map", "backbone"}; }
  at::Tensor features(const Batch& batch, const std::string& pooling) override;

 private:
  MarginShape shape_;
  std::shared_ptr<ViewEncoder> encoder_;
  BatchNorms norms_;
  PixelNormalisation pixels_;
};

/// [model] of a recipe with model.name = "siamese".
struct MarginOptions : BackboneOptions {
  std::string name = "siamese";
  std::int64_t hidden = 128;
  std::int64_t out = 2;
  double margin = 1.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    BackboneOptions::describe(visit);
    visit("hidden", hidden, "Width of the head's hidden layer.", kIdentity);
    visit("out", out, "Dimensions of the map.", kIdentity);
    visit("margin", margin, "Distance up to which other labels are pushed apart.", kIdentity);
  }
};

/// Row of the table of models.
std::unique_ptr<Objective> make_margin(RecipeReader& reader, const Recipe& recipe,
                                       const DatasetInfo& data);

}  // namespace kiln
