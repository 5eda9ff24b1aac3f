#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/objective.h"
#include "models/capabilities.h"
#include "models/layers/image_input.h"
#include "models/vit/vit.h"

// Masked autoencoder (He et al., "Masked autoencoders are scalable vision learners",
// arXiv:2111.06377).
//
// B samples, L patches of an image of which V stay visible and M = L - V are masked, D encoder
// width, E decoder width, P = p * p * C values of a patch.

namespace kiln {

struct MaeShape {
  VitShape encoder;
  std::int64_t decoder_dim = 512;
  std::int64_t decoder_depth = 8;
  std::int64_t decoder_heads = 16;
  std::int64_t decoder_mlp_dim = 2048;
  double mask_ratio = 0.75;
  bool has_normalised_targets = true;  // norm_pix: each patch to mean 0, (unbiased) variance 1

  std::int64_t num_visible() const;  // V = floor(L * (1 - mask_ratio))
  std::int64_t num_masked() const { return encoder.num_patches() - num_visible(); }
  std::vector<std::string> problems() const;
};

/// Order of L patches that sorts their noise; equal noise keeps its order. The first V are visible.
/// The inverse permutation says where each patch went.
std::vector<std::int64_t> shuffle_by_noise(std::span<const float> noise);

/// The network. Encoder weights carry the names of a ViT, the decoder's begin with "decoder_" as in
/// the original code.
///
/// The decoder's tokens stay in shuffled order: attention does not care for order, and each token
/// carries the position of its patch. So nothing is put back in place, and the rows to predict are
/// the last M.
struct MaskedAutoencoder : Vit {
  MaskedAutoencoder(const MaeShape& shape, const at::TensorOptions& options);

  /// Decoder input: encoder output [B, 1 + V, D] and the shuffled order [B, L] -> [B, 1 + L, E],
  /// class token, visible patches, masked ones; positions added.
  at::Tensor embed_decoder(const at::Tensor& latent, const at::Tensor& ids_shuffle) const;
  /// Decoder output [B, n, E] -> pixels of those patches [B, n, P].
  at::Tensor predict(const at::Tensor& tokens) const;
  /// Pixels of all masked patches, in shuffled order, from the visible ones [B, V, P]: [B, M, P].
  at::Tensor forward(const at::Tensor& visible, const at::Tensor& ids_shuffle,
                     DropoutStream& drop) const;

  MaeShape mae;
  at::Tensor mask_token;         // [1, 1, E]
  at::Tensor decoder_pos_embed;  // [1, 1 + L, E]
  std::shared_ptr<Linear> decoder_embed;
  std::vector<std::shared_ptr<TransformerBlock>> decoder_blocks;
  std::shared_ptr<LayerNorm> decoder_norm;
  std::shared_ptr<Linear> decoder_pred;
};

/// What the network is to predict for patches [..., P], at least fp32: the pixels themselves, or
/// each patch normalised: (x - mean) / sqrt(var + 1e-6), var with divisor P - 1.
at::Tensor mae_target(const at::Tensor& patches, bool is_normalised);

/// Sum over patches of the mean squared error of their P values, divided by `num_masked`, the
/// number of masked patches of the global batch.
at::Tensor mae_loss(const at::Tensor& prediction, const at::Tensor& target, double num_masked);

/// Batches: "image" [B, H, W, C], uint8 or normalised floating-point; prepare() adds "ids_shuffle"
/// [B, L] from Philox(seed, kMask, position) and the denominator "masked".
///
/// "reconstruct" measures how well hidden pixels are filled in: "mse" over hidden pixels in [0, 1],
/// and that of two predictors that learn nothing: "mse_visible_mean", the mean of each sample's
/// visible pixels, and "mse_nearest_patch", a copy of the nearest visible patch. Masks are those of
/// the positions, so every model is given the same.
class MaeObjective : public Objective,
                     public FeatureExtractor,
                     public Reconstructor,
                     public Measurable,
                     public FineTunable,
                     public Workload {
 public:
  MaeObjective(const MaeShape& shape, PixelNormalisation pixels, const at::TensorOptions& options);

  /// Weights from Philox(seed, kInit, number of the parameter).
  void initialise(std::uint64_t seed);

  MaskedAutoencoder& network() { return *network_; }
  const MaeShape& shape() const { return network_->mae; }
  const PixelNormalisation& pixels() const { return pixels_; }

  torch::nn::Module& module() override { return *network_; }
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  bool is_recordable(std::size_t phase) const override;
  std::vector<Buffer> buffers() override;
  std::vector<std::string> poolings() const override { return {"mean", "cls"}; }
  at::Tensor features(const Batch& batch, const std::string& pooling) override;
  Pictures reconstruct(const Batch& batch) override;
  std::unique_ptr<Measurement> measurement(const std::string& evaluation,
                                           const MeasurementSetup& setup) override;
  /// A "vit": all of it by arXiv:2111.06377, table 9, scaled to small datasets; with
  /// model.probe=true the head alone, by table 10.
  FineTuning finetuning(RecipeReader& command_line) const override;
  Work work(const Batch& like) override;

 private:
  at::Tensor to_weights_type(const at::Tensor& pixels) const;

  std::shared_ptr<MaskedAutoencoder> network_;
  PixelNormalisation pixels_;
};

}  // namespace kiln
