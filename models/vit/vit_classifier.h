#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/objective.h"
#include "core/recipe/options.h"
#include "core/recipe/recipe_reader.h"
#include "models/capabilities.h"
#include "models/layers/image_input.h"
#include "models/layers/parameters.h"
#include "models/vit/mixing.h"
#include "models/vit/vit.h"
#include "models/vit/vit_options.h"

// ViT classifier: trained from scratch, or fine-tuned or probed as in arXiv:2111.06377, appendix
// A.1.
//
// B samples, D width, K classes.

namespace kiln {

/// kMean: mean of the patch tokens, then a layer norm (fine-tuning of MAE). kCls: the class token
/// after the encoder's layer norm (ViT, and the layout of the Hugging Face hub).
enum class Pool { kMean, kCls };

struct ClassifierShape {
  VitShape encoder;
  Pool pool = Pool::kMean;
  std::int64_t num_classes = 0;
  /// Linear probe: the encoder is frozen, the head sees features standardised by a batch norm
  /// without affine part.
  bool is_probe = false;

  std::vector<std::string> problems() const;
};

/// Sets what the pool implies for the encoder: which norm it has.
ClassifierShape classifier_shape(const VitShape& encoder, Pool pool, std::int64_t num_classes);

struct ClassifierLoss {
  double label_smoothing = 0.0;
  MixingOptions mixing;
  double layer_decay = 1.0;  // learning rate factor per layer below the head
};

struct VitClassifier : Vit {
  VitClassifier(const ClassifierShape& shape, const at::TensorOptions& options);
  /// Pooled tokens [B, D] of encoder output [B, 1 + L, D].
  at::Tensor pooled(const at::Tensor& tokens) const;
  /// What the head sees, [B, D], of patches [B, L, P]; a probe's are not yet standardised.
  at::Tensor embed_images(const at::Tensor& patches, DropoutStream& drop) const;

  ClassifierShape classifier;
  std::shared_ptr<LayerNorm> fc_norm;  // kMean only
  std::shared_ptr<Linear> head;
  at::Tensor feature_mean, feature_var;  // [D] fp32, moving; probes only
};

/// Batches: "image" [B, H, W, C] and "label" [B]; prepare() adds the denominator "samples". How a
/// training micro-batch is mixed comes from Philox(seed, kMixup, its first position).
///
/// A probe standardises by the statistics of the micro-batch while training, and by moving ones,
/// updated from the global batch, in evaluation.
class ClassifierObjective : public Objective,
                            public FeatureExtractor,
                            public Classifier,
                            public Workload {
 public:
  ClassifierObjective(const ClassifierShape& shape, const ClassifierLoss& loss,
                      PixelNormalisation pixels, const at::TensorOptions& options);

  /// As a MAE, but learned positions and head from a truncated normal: 0.02 and 2e-5.
  void initialise(std::uint64_t seed);
  /// Takes class token, positions, projection and blocks from another ViT's tensors, a masked
  /// autoencoder's for one; its decoder and norms are not needed. Throws Error(kCheckpoint) naming
  /// what is missing or of another shape.
  void load_encoder(const NamedTensors& tensors, const std::string& origin);

  VitClassifier& network() { return *network_; }
  const PixelNormalisation& pixels() const { return pixels_; }

  torch::nn::Module& module() override { return *network_; }
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  /// Cross-entropy with smoothed, mixed targets while training, with plain ones in evaluation.
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  /// A probe's include the frozen encoder.
  std::vector<Buffer> buffers() override;
  Sums sums(std::size_t) override { return sums_; }
  void after_step(const StepContext& context, const Sums& sums, const Rows& rows) override;
  std::vector<std::string> poolings() const override { return {"mean", "cls"}; }
  at::Tensor features(const Batch& batch, const std::string& pooling) override;
  at::Tensor scores(const Batch& batch) override;
  Work work(const Batch& like) override;

 private:
  std::vector<Parameter> all_parameters() const;
  at::Tensor logits(const at::Tensor& images, DropoutStream& drop, bool is_training);
  at::Tensor standardised(const at::Tensor& features, bool is_training);
  at::Tensor targets(const at::Tensor& labels, double smoothing) const;

  std::shared_ptr<VitClassifier> network_;
  Sums sums_;  // of the features of the micro-batch last given to loss(); probes only
  ClassifierLoss loss_;
  PixelNormalisation pixels_;
};

/// [model] of a recipe with model.name = "vit".
struct ClassifierOptions : VitOptions {
  std::string name = "vit";
  std::string pool = "mean";
  std::optional<std::int64_t> classes;
  bool learned_positions = true;
  bool probe = false;
  double drop_path = 0.0;
  double label_smoothing = 0.0;
  double mixup = 0.0;
  double cutmix = 0.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    VitOptions::describe(visit);
    visit("pool", pool, "What the head sees: mean (of the patches) | cls (the class token).",
          kIdentity);
    visit("classes", classes, "Classes; default: those of the dataset.", kIdentity);
    visit("learned_positions", learned_positions, "Else the fixed sin-cos table.", kIdentity);
    visit("probe", probe, "Linear probe: trains the head alone, on standardised features.",
          kIdentity);
    visit("drop_path", drop_path, "Stochastic depth of the last block, rising from 0.", kIdentity);
    visit("label_smoothing", label_smoothing, "Share of the target spread over all classes.",
          kIdentity);
    visit("mixup", mixup, "Alpha of mixup; 0: off.", kIdentity);
    visit("cutmix", cutmix, "Alpha of CutMix; 0: off.", kIdentity);
  }

  static ClassifierOptions of(const ClassifierShape& shape);
  /// Fills what preset and data imply; adds to `problems` what is wrong.
  void resolve(const DatasetInfo& data, std::vector<std::string>& problems);
  /// After resolve() without problems.
  ClassifierShape shape(const DatasetInfo& data) const;
};

/// Row of the table of models.
std::unique_ptr<Objective> make_vit(RecipeReader& reader, const Recipe& recipe,
                                    const DatasetInfo& data);

}  // namespace kiln
