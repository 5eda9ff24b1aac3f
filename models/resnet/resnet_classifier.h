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
#include "models/layers/linear.h"
#include "models/resnet/resnet.h"
#include "models/vit/mixing.h"

// B samples, D width of the features, K classes.

namespace kiln {

struct ResNetClassifier : ResNet {
  ResNetClassifier(const ResNetShape& shape, std::int64_t num_classes,
                   const at::TensorOptions& options);
  /// Features [B, D], fp32 or fp64 -> [B, K] of the same type.
  at::Tensor scores(const at::Tensor& features) const;

  std::shared_ptr<Linear> fc;
};

struct ResNetLoss {
  double label_smoothing = 0.0;
  MixingOptions mixing;
  bool has_zero_last_gamma = true;
};

/// A residual network with cross-entropy (arXiv:1512.03385), smoothed and mixed where asked.
///
/// Batches: "image" [B, H, W, C] and "label" [B]; prepare() adds the denominator "samples". The
/// batch norms normalise by the micro-batch while training, by the running statistics else.
class ResNetObjective : public Objective,
                        public FeatureExtractor,
                        public Classifier,
                        public Workload {
 public:
  ResNetObjective(const ResNetShape& shape, std::int64_t num_classes, const ResNetLoss& loss,
                  PixelNormalisation pixels, const at::TensorOptions& options);

  /// initialise_resnet(), and the head as torchvision's: uniform on +-1 / sqrt(D).
  void initialise(std::uint64_t seed);

  ResNetClassifier& network() { return *network_; }
  const PixelNormalisation& pixels() const { return pixels_; }

  torch::nn::Module& module() override { return *network_; }
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  std::vector<Buffer> buffers() override { return running_statistics(*network_); }
  Sums sums(std::size_t) override { return norms_.sums(); }
  void after_step(const StepContext&, const Sums& sums, const Rows&) override { norms_.move(sums); }
  std::vector<std::string> poolings() const override { return {"mean"}; }
  at::Tensor features(const Batch& batch, const std::string& pooling) override;
  at::Tensor scores(const Batch& batch) override;
  Work work(const Batch& like) override;

 private:
  at::Tensor input(const at::Tensor& images) const;  // [B, H, W, C] -> [B, C, H, W]

  std::shared_ptr<ResNetClassifier> network_;
  BatchNorms norms_;
  ResNetLoss loss_;
  PixelNormalisation pixels_;
};

/// [model] of a recipe with model.name = "resnet".
struct ResNetOptions {
  std::string name = "resnet";
  std::int64_t layers = 50;
  double width = 1.0;
  std::string stem = "imagenet";
  std::optional<std::int64_t> classes, stem_width;
  std::vector<std::int64_t> widths, depths;
  std::optional<bool> bottlenecks;
  bool zero_last_gamma = true;
  double label_smoothing = 0.0;
  double mixup = 0.0;
  double cutmix = 0.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    visit(
        "layers", layers,
        "Size: 18 | 34 | 50 | 101 | 152; stem_width, widths, depths and bottlenecks replace parts "
        "of it.",
        kIdentity);
    visit("width", width, "Factor of all widths.", kIdentity);
    visit("stem", stem, "imagenet (7 x 7, stride 2, pooled) | cifar (3 x 3, for small images).",
          kIdentity);
    visit("classes", classes, "Classes; default: those of the dataset.", kIdentity);
    visit("stem_width", stem_width, "Channels of the stem.", kIdentity);
    visit("widths", widths, "Channels that come out of each stage.", kIdentity);
    visit("depths", depths, "Blocks of each stage.", kIdentity);
    visit("bottlenecks", bottlenecks, "Blocks of 1 x 1, 3 x 3, 1 x 1; else of two 3 x 3.",
          kIdentity);
    visit("zero_last_gamma", zero_last_gamma, "Each block starts as the identity.", kIdentity);
    visit("label_smoothing", label_smoothing, "Share of the target spread over all classes.",
          kIdentity);
    visit("mixup", mixup, "Alpha of mixup; 0: off.", kIdentity);
    visit("cutmix", cutmix, "Alpha of CutMix; 0: off.", kIdentity);
  }

  static ResNetOptions of(const ResNetShape& shape, std::int64_t num_classes);
  /// Fills what the size and the data imply; adds to `problems` what is wrong.
  void resolve(const DatasetInfo& data, std::vector<std::string>& problems);
  /// After resolve() without problems.
  ResNetShape shape(const DatasetInfo& data) const;
  ResNetLoss loss() const { return {label_smoothing, {mixup, cutmix}, zero_last_gamma}; }
};

/// Row of the table of models.
std::unique_ptr<Objective> make_resnet(RecipeReader& reader, const Recipe& recipe,
                                       const DatasetInfo& data);

}  // namespace kiln
