#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/objective.h"
#include "models/capabilities.h"
#include "models/layers/image_input.h"
#include "models/siamese/backbone.h"
#include "models/siamese/head.h"

// B samples, D width of the features.

namespace kiln {

/// A backbone and the head that is thrown away after training: "backbone.*" and "head.*".
struct ViewEncoder : torch::nn::Module {
  ViewEncoder(const BackboneShape& shape, const std::vector<HeadLayer>& head_layers,
              const at::TensorOptions& options);
  /// [B, H, W, C] -> [B, width of the head].
  at::Tensor forward(const at::Tensor& images, BatchNormMode mode, DropoutStream& drop) const;
  std::size_t initialise(HeadInit head_init, std::uint64_t seed, bool has_zero_last_gamma) const;

  Backbone backbone;
  std::shared_ptr<MlpHead> head;
};

/// What the methods that compare views share: one coupled phase "all", features of the backbone.
///
/// Batches of training: "image.0", "image.1", ... uint8 [B, H, W, C]; of evaluation: "image".
class ViewObjective : public Objective, public FeatureExtractor {
 public:
  explicit ViewObjective(PixelNormalisation pixels) : pixels_(std::move(pixels)) {}

  const PixelNormalisation& pixels() const { return pixels_; }

  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Phase> phases() const override;
  /// The only pooling is the backbone's own: "mean" of a residual network, "cls" of a transformer.
  std::vector<std::string> poolings() const override;
  at::Tensor features(const Batch& batch, const std::string& pooling) override;

 protected:
  /// The backbone that features come from.
  virtual const Backbone& backbone() const = 0;
  /// Normalised pixels of view number `view`, [B, H, W, C].
  at::Tensor view(const Batch& batch, std::int64_t view) const;

 private:
  PixelNormalisation pixels_;
};

/// "positive_similarity" (mean cosine of pairs) and "negative_similarity" (of all others), for rows
/// of unit length q and k [N, D] whose pairs have the same number.
void add_similarity_metrics(const at::Tensor& q, const at::Tensor& k,
                            std::map<std::string, std::pair<at::Tensor, double>>& metrics);

}  // namespace kiln
