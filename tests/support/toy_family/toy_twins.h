#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/objective.h"
#include "core/torch.h"
#include "models/capabilities.h"
#include "models/registry.h"

// A family of models outside the tree, small enough for a step in milliseconds, that asks for
// everything the engine and the commands offer: two phases with an optimizer each, one of them
// coupled over the global batch, an average network, two views of each sample, a generator, a
// likelihood and an evaluation of its own. CONTRIBUTING.md follows it file by file.
//
// B samples, P = H W C pixels of a picture, D width, K classes.

namespace kiln::test {

struct ToyTwinsShape {
  std::int64_t height = 0, width = 0, channels = 0;
  std::int64_t dim = 16;
  std::int64_t classes = 0;
  double temperature = 0.2;
  double teacher_decay = 0.9;

  std::int64_t pixels() const { return height * width * channels; }
};

/// Encoder and teacher P -> D, and for each class the mean and log-variance of every pixel.
struct ToyTwinsNetwork : torch::nn::Module {
  ToyTwinsNetwork(const ToyTwinsShape& shape, const at::TensorOptions& options);

  at::Tensor encoder, teacher;     // [D, P]
  at::Tensor means, log_variance;  // [K, P]
};

/// Phase "twins", coupled: InfoNCE (arXiv:1807.03748) of the encoder's row for one view against the
/// teacher's rows for the other view of all samples of the global batch, at a temperature; the
/// teacher follows the encoder. Phase "pixels", stochastic gradient descent: minus log-likelihood of
/// the pixels, in [-1, 1], under a normal distribution for each class, per pixel.
///
/// Batches: "image.0", "image.1" uint8 [B, H, W, C], "label" [B]; of evaluations "image" instead of the
/// views. prepare() adds the denominator "samples".
class ToyTwins : public Objective,
                 public FeatureExtractor,
                 public Measurable,
                 public PictureGenerator,
                 public Likelihood,
                 public Workload {
 public:
  ToyTwins(const ToyTwinsShape& shape, const at::TensorOptions& options, std::uint64_t seed);

  torch::nn::Module& module() override { return *network_; }
  void check(const Batch& sample, const std::string& path) const override;
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Phase> phases() const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  Rows embed(const Batch& batch, const StepContext& context, std::size_t phase) override;
  Loss couple(const Rows& all, const StepContext& context, std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  std::vector<Average> averages() override;

  std::vector<std::string> poolings() const override { return {"encoder", "teacher"}; }
  at::Tensor features(const Batch& batch, const std::string& pooling) override;

  /// "twins": "alignment", the mean cosine of the encoder's row for a picture and the teacher's for
  /// its mirror image.
  std::unique_ptr<Measurement> measurement(const std::string& evaluation,
                                           const MeasurementSetup& setup) override;

  Requirements requirements() const override { return {.num_classes = shape_.classes}; }
  void configure_drawing(RecipeReader& reader, std::uint64_t seed) override;
  nlohmann::json chosen_drawing() const override;
  std::vector<std::int64_t> drawn_shape() const override;
  at::Tensor draw(std::int64_t first, std::int64_t count, const Conditions& conditions) override;

  Bits bits(Batch batch, std::uint64_t seed) override;
  std::int64_t num_values() const override { return shape_.pixels(); }

  Work work(const Batch& like) override;

  /// Rows of unit length, [B, D].
  at::Tensor rows(const at::Tensor& images, const at::Tensor& weights) const;

 private:
  /// Minus log-likelihood of each pixel, nats.  [B, P]
  at::Tensor pixel_losses(const at::Tensor& images, const at::Tensor& labels) const;

  ToyTwinsShape shape_;
  std::shared_ptr<ToyTwinsNetwork> network_;
  double noise_ = 1.0;  // of draw(): factor of the standard deviation
  std::uint64_t drawing_seed_ = 0;
};

/// What a program hands to kiln_main().
std::vector<ModelEntry> toy_models();

}  // namespace kiln::test
