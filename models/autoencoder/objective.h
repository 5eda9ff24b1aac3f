#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/objective.h"
#include "core/recipe/recipe_reader.h"
#include "models/autoencoder/bottleneck.h"
#include "models/autoencoder/codebook.h"
#include "models/autoencoder/discriminator.h"
#include "models/autoencoder/network.h"
#include "models/autoencoder/options.h"
#include "models/autoencoder/perceptual.h"
#include "models/capabilities.h"

// B samples, C channels, H x W pixels, E latent channels, h x w latent pixels, K codes, M
// micro-batches of a step.

namespace kiln {

/// First stage of latent diffusion: reconstruction, KL or codebook, and optionally a discriminator.
///
/// kKl (arXiv 2112.10752):  L = sum over pixels of (|x - x^| + w_p perceptual) + kl_weight KL
///                              + lambda w_d g,   per sample,  g = -mean D(x^)
/// kVq (arXiv 2012.09841):  L = mean over pixels of (...) + codebook_weight L_vq + lambda w_d g
/// lambda is adaptive_weight() of the micro-batch. The discriminator's phase has hinge_loss().
/// The published nll also has a learned-looking variance that no optimizer updates: left out.
///
/// Batches: "image" [B, H, W, C] uint8, or floating-point in [-1, 1]; prepare() adds
/// "posterior_noise" [B, E, h, w] from Philox(seed, kLatent, position) and the denominator
/// "samples".
///
/// "reconstruct" measures how well pictures come back, 8-bit ones in [0, 1] without padding: "psnr"
/// and "ssim", means over pictures; "mse"; "l1", and "l1_mean_picture", that of the pictures' mean,
/// which no learning takes; "perceptual", the distance model.perceptual names, else that of pixel
/// differences at three scales; and with a codebook "codebook_perplexity", the number of codes in
/// real use.
class AutoencoderObjective : public Objective,
                             public Reconstructor,
                             public Measurable,
                             public LatentCodec,
                             public Workload {
 public:
  AutoencoderObjective(const AutoencoderShape& shape, const AutoencoderOptions& options,
                       const at::TensorOptions& tensor_options);

  void initialise(std::uint64_t seed);
  Autoencoder& network() { return *network_; }
  const AutoencoderOptions& options() const { return options_; }
  /// Pixels as the network wants them: [-1, 1], [B, C, H, W] channels-last, padded.
  at::Tensor to_input(const at::Tensor& images) const;
  /// Back to uint8 [B, H, W, C] on the host, padding cut off.
  at::Tensor to_pictures(const at::Tensor& images) const;

  torch::nn::Module& module() override { return *network_; }
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Phase> phases() const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  std::vector<Buffer> buffers() override;
  Sums sums(std::size_t phase) override;
  void after_step(const StepContext& context, const Sums& sums, const Rows& rows) override;
  Pictures reconstruct(const Batch& batch) override;
  std::unique_ptr<Measurement> measurement(const std::string& evaluation,
                                           const MeasurementSetup& setup) override;
  std::vector<std::int64_t> latent_shape(const std::vector<std::int64_t>& picture) const override;
  std::vector<std::int64_t> picture_shape(const std::vector<std::int64_t>& latent) const override;
  at::Tensor moments(const at::Tensor& pictures) override;
  at::Tensor decode_latents(const at::Tensor& latents) override;
  /// Of the generator's phase without adversary and perceptual distance.
  Work work(const Batch& like) override;
  /// uint8 [B, H, W, C] on the host, from the posterior's mean or the nearest codes.
  struct Reconstructed {
    at::Tensor pictures;
    at::Tensor indices;  // [B, h, w]; undefined without codebook
  };
  Reconstructed reconstruct_with_codes(const Batch& batch);

 private:
  struct Pass;
  Pass run(const at::Tensor& x, const Batch& batch) const;
  at::Tensor nll(const at::Tensor& x, const at::Tensor& made) const;
  Loss generator_loss(const Batch& batch, const StepContext& context);
  Loss discriminator_loss(const Batch& batch);
  bool is_adversarial(const StepContext& context) const;

  AutoencoderOptions options_;
  std::shared_ptr<Autoencoder> network_;
  std::shared_ptr<PatchDiscriminator> discriminator_;  // null without adversary
  std::unique_ptr<PerceptualDistance> perceptual_;     // null without
  std::shared_ptr<CodebookStatistics> statistics_;     // kVq
  Sums sums_;
};

/// What to tell a user whose codebook has collapsed, or whose discriminator's logits of made images
/// run away; empty where all is well.
std::string codebook_warning(double perplexity, std::int64_t num_codes);
std::string adversary_warning(double mean_logit);

/// Row of the table of models.
std::unique_ptr<Objective> make_autoencoder(RecipeReader& reader, const Recipe& recipe,
                                            const DatasetInfo& data);

}  // namespace kiln
