#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/recipe/recipe.h"
#include "core/recipe/recipe_reader.h"
#include "models/siamese/view_objective.h"

// B pictures of a micro-batch, V crops of each, the first two global ones, K entries of the output.

namespace kiln {

struct DinoShape {
  BackboneShape backbone;
  PositionResampling resampling = PositionResampling::kScale;
  std::int64_t hidden = 2048, bottleneck = 256, out = 65536;
  std::int64_t num_crops = 2;
  bool has_fixed_norms = true;  // rows of the last layer keep unit length
  double student_temperature = 0.1;
  double teacher_temperature = 0.04, first_teacher_temperature = 0.04;
  double teacher_warmup_epochs = 0.0;
  double center_momentum = 0.9;
  double momentum = 0.996;          // of the teacher; rises to 1 by a half cosine
  std::int64_t frozen_samples = 0;  // until then the last layer stays as it is
  bool has_zero_last_gamma = true;
};

/// MLP with GELU to a bottleneck of unit length, then a weight-normed linear layer without bias:
/// row k of its matrix is weight_g[k] weight_v[k] / |weight_v[k]|.
struct DinoHead : torch::nn::Module {
  DinoHead(std::int64_t in, const DinoShape& shape, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;  // [B, D] -> [B, K], at least fp32
  void initialise(std::uint64_t seed, std::size_t first) const;

  std::shared_ptr<MlpHead> mlp;
  struct LastLayer : torch::nn::Module {
    LastLayer(std::int64_t in, std::int64_t out, const at::TensorOptions& options);
    at::Tensor weight_g, weight_v;  // [K, 1], [K, bottleneck]
  };
  std::shared_ptr<LastLayer> last_layer;
};

/// DINO (Caron et al., arXiv:2104.14294), algorithm 1 with multi-crop: the mean over teacher crops
/// a in {0, 1} and student crops v != a of the mean over pictures of
///
///   - sum over k of softmax((t_a - c) / T_t)_k log softmax(s_v / T_s)_k
///
/// The teacher is the moving average of the student, moved at the end of a step; the centre c is the
/// one before the step, and then takes in the mean of the teacher's outputs over the global batch.
/// Nothing else couples pictures, so the loss is one of micro-batches.
class DinoObjective final : public ViewObjective {
 public:
  DinoObjective(const DinoShape& shape, PixelNormalisation pixels,
                const at::TensorOptions& options);
  void initialise(std::uint64_t seed);

  torch::nn::Module& module() override { return *network_; }
  std::vector<Phase> phases() const override { return {{.name = "all"}}; }
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  std::vector<Buffer> buffers() override;
  std::vector<Average> averages() override;
  std::vector<NamedSchedule> schedules() const override;
  Sums sums(std::size_t phase) override;
  void after_step(const StepContext& context, const Sums& sums, const Rows& rows) override;

  /// Outputs, crop after crop: [V B, K] of the student, [2 B, K] of the teacher.
  at::Tensor student_scores(const Batch& batch, const StepContext& context);
  at::Tensor teacher_scores(const Batch& batch);
  const Backbone& student() const { return network_->backbone; }

 protected:
  /// The teacher's, whose features are better (section 5.2).
  const Backbone& backbone() const override { return network_->teacher->backbone; }

 private:
  struct Branch : torch::nn::Module {
    Branch(const DinoShape& shape, const at::TensorOptions& options);
    Backbone backbone;
    std::shared_ptr<DinoHead> head;
  };
  struct Network : Branch {
    Network(const DinoShape& shape, const at::TensorOptions& options);
    std::shared_ptr<Branch> teacher;
    at::Tensor center;  // [1, K]
  };

  DinoShape shape_;
  std::shared_ptr<Network> network_;
  BatchNorms student_norms_, teacher_norms_;
  at::Tensor teacher_sum_;  // [1, K]: of the micro-batch last given to loss()
};

/// [model] of a recipe with model.name = "dino".
struct DinoOptions : BackboneOptions {
  std::string name = "dino";
  std::int64_t hidden = 2048, bottleneck = 256, out = 65536;
  bool norm_last_layer = true;
  double student_temperature = 0.1;
  double teacher_temperature = 0.04, first_teacher_temperature = 0.04;
  double teacher_warmup_epochs = 0.0;
  double center_momentum = 0.9;
  double momentum = 0.996;
  double freeze_last_layer_epochs = 1.0;
  std::string position_resampling = "scale";

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    BackboneOptions::describe(visit);
    visit("hidden", hidden, "Width of the head's two hidden layers.", kIdentity);
    visit("bottleneck", bottleneck, "Width before the last layer.", kIdentity);
    visit("out", out, "Entries of the output.", kIdentity);
    visit("norm_last_layer", norm_last_layer, "The last layer's rows keep unit length.", kIdentity);
    visit("student_temperature", student_temperature, "Divides the student's outputs.", kIdentity);
    visit("teacher_temperature", teacher_temperature,
          "Divides the teacher's, after its warm-up: the schedule \"teacher_temperature\".",
          kIdentity);
    visit("first_teacher_temperature", first_teacher_temperature, "The same at the beginning.",
          kIdentity);
    visit("teacher_warmup_epochs", teacher_warmup_epochs, "Length of that warm-up.", kIdentity);
    visit("center_momentum", center_momentum, "Of the teacher's centre; 1: it stays 0.", kIdentity);
    visit("momentum", momentum, "Of the teacher, at first: the schedule \"momentum\".", kIdentity);
    visit("freeze_last_layer_epochs", freeze_last_layer_epochs,
          "Until then the last layer is not trained.", kIdentity);
    visit("position_resampling", position_resampling,
          "vit: of positions for small crops: scale (as published) | size (as transformers).",
          kIdentity);
  }
};

/// Row of the table of models.
std::unique_ptr<Objective> make_dino(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data);

}  // namespace kiln
