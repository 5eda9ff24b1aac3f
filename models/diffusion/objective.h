#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/objective.h"
#include "core/recipe/recipe_reader.h"
#include "models/capabilities.h"
#include "models/diffusion/formulation.h"
#include "models/diffusion/generate.h"
#include "models/diffusion/options.h"
#include "models/diffusion/samplers.h"
#include "models/diffusion/variance_bound.h"
#include "models/layers/diffusion_network.h"

// B samples, C channels, H x W pixels or latent pixels, S context tokens of width E.

namespace kiln {

/// Diffusion of latents (Rombach et al., arXiv 2112.10752) or of pixels: a network, a formulation,
/// and conditioning on a class, a text, or nothing.
///
/// L = mean over samples of weight(level) mean over values |F(c_in x; time, condition) - target|^2
///     + vlb_weight bound, with a learned variance;   x = signal x0 + noise n.
///
/// Batches: "moments" fp16 [B, 2C, H, W] (x0 = latent_scale z, z drawn from them anew each time) or
/// "image" uint8 [B, H, W, C]; "label" int64 [B]; "context" [B, S, E]. prepare() adds from streams
/// of each sample's position: "noise" [B, C, H, W], "posterior_noise", "level" fp64 [B, 9] and
/// "timestep", drops labels (to num_classes) and contexts (to 0), and gives the denominator
/// "samples".
///
/// Held-out samples are measured by
///   mse         of what the network predicts, at the noise levels and with the noise that these
///               positions are trained with
///   mse_linear  the least that any linear predictor reaches at those levels, if samples were normal
///               with the mean and covariance that the evaluated ones have
///   bits        flow: minus log-likelihood by integrating the flow with 50 steps of Heun's method;
///               ddpm: the variational bound from 100 of its terms; edm, score: none. Of latents it
///               is a density in the model's own scale.
class LatentDiffusion : public Objective,
                        public PictureGenerator,
                        public ControlGenerator,
                        public Likelihood,
                        public Workload {
 public:
  LatentDiffusion(std::shared_ptr<DiffusionNetwork> network, LatentDiffusionOptions options,
                  const FormulationOptions& formulation, const DatasetInfo& data);

  torch::nn::Module& module() override { return *network_; }
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  bool is_recordable(std::size_t phase) const override;
  /// Labels for classes, "context" of width model.context_dim for texts.
  void check(const Batch& sample, const std::string& path) const override;
  std::vector<Buffer> buffers() override;

  Requirements requirements() const override;
  void set_codec(LatentCodec* codec) override { codec_ = codec; }
  void configure_drawing(RecipeReader& reader, std::uint64_t seed) override;
  nlohmann::json chosen_drawing() const override;
  std::vector<std::int64_t> drawn_shape() const override;
  at::Tensor draw(std::int64_t first, std::int64_t count, const Conditions& conditions) override;
  /// "noise_latents": decoded from N(0, I) in the model's own scale; "normal_latents": from the
  /// normal distribution with full covariance fitted to the latents trained on.
  std::vector<std::string> controls() const override;
  void fit_controls(const SampleReader& data, std::uint64_t seed) override;
  at::Tensor draw_control(const std::string& name, std::int64_t first, std::int64_t count,
                          std::uint64_t seed) override;

  void begin_likelihood(const MeasurementSetup& setup) override;
  Bits bits(Batch batch, std::uint64_t seed) override;
  std::int64_t num_values() const override {
    return sample_shape_[0] * sample_shape_[1] * sample_shape_[2];
  }

  Work work(const Batch& like) override;

  DiffusionNetwork& network() { return *network_; }
  const LatentDiffusionOptions& options() const { return options_; }
  const Formulation& formulation() const { return *formulation_; }
  bool is_latent() const { return is_latent_; }
  /// C, H, W of a sample as the network sees it.
  std::vector<std::int64_t> sample_shape() const { return sample_shape_; }
  /// x0 of a batch that went through prepare(): scaled latents, or pixels in [-1, 1], fp32.
  at::Tensor clean(const Batch& batch) const;
  /// Noise level of sample b of a batch that went through prepare(), on the host.
  NoiseLevel level_of(const Batch& batch, std::int64_t b) const;
  /// Mean squared error of each sample's prediction, unweighted, without dropout.  [B]
  at::Tensor errors(const Batch& batch) const;
  /// F(c_in x; time, condition) at least fp32, without learned variance, and that part.
  struct Output {
    at::Tensor f;
    at::Tensor v;  // undefined without learned variance
  };
  Output evaluate(const at::Tensor& x, const at::Tensor& input_scale, const at::Tensor& times,
                  const Conditioning& conditioning, DropoutStream& drop) const;

 private:
  /// One forward pass of a prepared batch.
  struct Pass {
    at::Tensor x0, x;  // clean and noised
    Output out;
    at::Tensor error;  // [B]
  };
  Pass run(const Batch& batch, DropoutStream& drop) const;
  at::Device device() const { return network_->parameters().front().device(); }
  /// Latents as the autoencoder gives them, or pixels in [-1, 1], [B, C, H, W] -> uint8
  /// [B, H, W, C] on the host.
  at::Tensor decoded(const at::Tensor& x) const;
  /// Mean squared error of the best linear predictor of what the network predicts at every noise
  /// level in a prepared batch.  [B]
  at::Tensor linear_errors(const Batch& batch) const;

  std::shared_ptr<DiffusionNetwork> network_;
  LatentDiffusionOptions options_;
  std::unique_ptr<Formulation> formulation_;
  std::optional<VarianceBound> bound_;
  bool is_latent_;
  std::vector<std::int64_t> sample_shape_;

  GenerateOptions drawing_;
  LatentCodec* codec_ = nullptr;
  at::Tensor control_mean_, control_root_;  // [D], [D, D]: root^2 is the covariance of latents
  at::Tensor variances_;                    // [D] eigenvalues of the evaluated data's covariance
};

/// Rows of the table of models.
std::unique_ptr<Objective> make_latent_diffusion(RecipeReader& reader, const Recipe& recipe,
                                                 const DatasetInfo& data);

}  // namespace kiln
