#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/recipe/recipe.h"
#include "core/recipe/recipe_reader.h"
#include "models/siamese/view_objective.h"

// B pictures of a micro-batch, N of the global batch, D width of the projections.

namespace kiln {

struct SimclrShape {
  BackboneShape backbone;
  std::int64_t hidden = 2048;
  std::int64_t out = 128;
  std::int64_t head_layers = 2;
  double temperature = 0.1;
  bool has_zero_last_gamma = true;
};

/// SimCLR (Chen et al., arXiv:2002.05709): NT-Xent, equation 1, over the 2 N views of the global
/// batch. The loss is the mean over the views; the published code reports twice that. Both views of
/// a micro-batch go through the network as one batch [first views; second views], whose statistics
/// the batch norms take. The last batch norm of the head has no shift.
class SimclrObjective final : public ViewObjective {
 public:
  SimclrObjective(const SimclrShape& shape, PixelNormalisation pixels,
                  const at::TensorOptions& options);
  void initialise(std::uint64_t seed);

  torch::nn::Module& module() override { return *encoder_; }
  std::vector<Parameter> parameters(std::size_t phase) override;
  /// "z.0" and "z.1" [B, D]: projections of both views, before normalisation.
  Rows embed(const Batch& batch, const StepContext& context, std::size_t phase) override;
  Loss couple(const Rows& all, const StepContext& context, std::size_t phase) override;
  std::vector<Buffer> buffers() override { return running_statistics(*encoder_); }
  Sums sums(std::size_t) override { return norms_.sums(); }
  void after_step(const StepContext&, const Sums& sums, const Rows&) override { norms_.move(sums); }

 protected:
  const Backbone& backbone() const override { return encoder_->backbone; }

 private:
  SimclrShape shape_;
  std::shared_ptr<ViewEncoder> encoder_;
  BatchNorms norms_;
};

/// [model] of a recipe with model.name = "simclr".
struct SimclrOptions : BackboneOptions {
  std::string name = "simclr";
  std::int64_t hidden = 2048;
  std::int64_t out = 128;
  std::int64_t head_layers = 2;
  double temperature = 0.1;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    BackboneOptions::describe(visit);
    visit("hidden", hidden, "Width of the projection head's hidden layers.", kIdentity);
    visit("out", out, "Width of the projections.", kIdentity);
    visit("head_layers", head_layers, "Linear layers of the projection head.", kIdentity);
    visit("temperature", temperature, "Divides the cosines in the loss.", kIdentity);
  }
};

/// Row of the table of models.
std::unique_ptr<Objective> make_simclr(RecipeReader& reader, const Recipe& recipe,
                                       const DatasetInfo& data);

}  // namespace kiln
