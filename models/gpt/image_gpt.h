#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/objective.h"
#include "models/capabilities.h"
#include "models/gpt/gpt.h"
#include "models/gpt/sampling.h"

// Image GPT (Chen et al., "Generative pretraining from pixels", ICML 2020): the pixels of a picture in
// raster order are a sequence of tokens.
//
// B samples, H x W pixels, L = H W tokens, O grey levels, D width.

namespace kiln {

/// Which tokens are predicted.
enum class ImageGptTask {
  kNext,    // each from those before it; the loss is the mean over all tokens
  kMasked,  // masked ones from all others; the mean over a picture's masked tokens, then pictures
};

struct ImageGptShape {
  GptShape gpt;  // num_outputs grey levels and a start token, the last row of the table
  std::int64_t height = 0, width = 0;
  ImageGptTask task = ImageGptTask::kNext;
  double mask_share = 0.15;  // probability of each token

  std::vector<std::string> problems() const;
};

/// Grey pictures uint8 [B, H, W, 1] -> tokens int64 [B, H W]: level v O / 256 of value v, rounded
/// down.
at::Tensor grey_tokens(const at::Tensor& pictures, std::int64_t levels);
/// The middle value of each token's level: tokens [B, L] -> uint8 [B, H, W, 1].
at::Tensor grey_pictures(const at::Tensor& tokens, std::int64_t levels, std::int64_t height,
                         std::int64_t width);

/// Batches: "image" uint8 [B, H, W, 1]. prepare() adds "masked" bool [B, L] from Philox(seed, kMask,
/// position) for kMasked, and the denominators "tokens" (kNext) or "samples" (kMasked).
class ImageGptObjective : public Objective,
                          public FeatureExtractor,
                          public Likelihood,
                          public PictureGenerator {
 public:
  ImageGptObjective(const ImageGptShape& shape, const at::TensorOptions& options);

  /// Weights from Philox(seed, kInit, number of the parameter).
  void initialise(std::uint64_t seed);

  const Gpt& network() const { return *network_; }
  const ImageGptShape& shape() const { return shape_; }

  torch::nn::Module& module() override { return *network_; }
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;

  /// "mean": over the positions of the middle block's normed input.
  std::vector<std::string> poolings() const override { return {"mean"}; }
  at::Tensor features(const Batch& batch, const std::string& pooling) override;

  /// Exact for kNext: minus log2 of the probability of the picture's grey levels, and
  /// "nats_per_token". Undefined for kMasked.
  Bits bits(Batch batch, std::uint64_t seed) override;
  std::int64_t num_values() const override { return shape_.height * shape_.width; }

  /// Pixel by pixel, each from those before it; kNext only.
  Requirements requirements() const override { return {}; }
  void configure_drawing(RecipeReader& reader, std::uint64_t seed) override;
  nlohmann::json chosen_drawing() const override;
  std::vector<std::int64_t> drawn_shape() const override {
    return {shape_.height, shape_.width, 1};
  }
  at::Tensor draw(std::int64_t first, std::int64_t count, const Conditions& conditions) override;

 private:
  at::Tensor start_of(const at::Tensor& tokens) const;  // [B, 1]

  ImageGptShape shape_;
  TokenSampling sampling_;
  std::uint64_t sampling_seed_ = 0;
  std::shared_ptr<Gpt> network_;
};

}  // namespace kiln
