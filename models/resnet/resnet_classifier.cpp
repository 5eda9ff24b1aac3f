#include "models/resnet/resnet_classifier.h"

#include <cmath>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "models/layers/init.h"
#include "models/layers/submodule.h"

namespace kiln {

ResNetClassifier::ResNetClassifier(const ResNetShape& choice, std::int64_t num_classes,
                                   const at::TensorOptions& options)
    : ResNet(choice, options) {
  fc = add<Linear>(*this, "fc", choice.dim(), num_classes, options);
}

at::Tensor ResNetClassifier::scores(const at::Tensor& features) const {
  return fc->forward(features.to(fc->weight.scalar_type())).to(features.scalar_type());
}

ResNetObjective::ResNetObjective(const ResNetShape& shape, std::int64_t num_classes,
                                 const ResNetLoss& loss, PixelNormalisation pixels,
                                 const at::TensorOptions& options)
    : network_(std::make_shared<ResNetClassifier>(shape, num_classes, options)),
      norms_(*network_),
      loss_(loss),
      pixels_(std::move(pixels)) {}

void ResNetObjective::initialise(std::uint64_t seed) {
  initialise_resnet(*network_, seed, loss_.has_zero_last_gamma);
  const at::NoGradGuard no_grad;
  const double bound = 1.0 / std::sqrt(static_cast<double>(network_->shape.dim()));
  std::size_t index = network_->parameters().size() - 2;
  for (at::Tensor tensor : {network_->fc->weight, network_->fc->bias}) {
    fill_uniform(tensor, bound, init_stream(seed, index++));
  }
}

void ResNetObjective::prepare(Batch& batch, std::uint64_t) const {
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
}

std::vector<Parameter> ResNetObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  return resnet_parameters(*network_);
}

at::Tensor ResNetObjective::input(const at::Tensor& images) const {
  return images.permute({0, 3, 1, 2}).to(network_->conv1->weight.scalar_type());
}

std::optional<Loss> ResNetObjective::loss(const Batch& batch, const StepContext& context,
                                          std::size_t) {
  const std::int64_t K = network_->fc->weight.size(0);
  at::Tensor images = pixels_.normalise(batch.at("image"));
  const double smoothing = context.is_training ? loss_.label_smoothing : 0.0;
  at::Tensor wanted =
      at::one_hot(batch.at("label").to(at::kLong), K).to(at::kFloat) * (1.0 - smoothing) +
      smoothing / static_cast<double>(K);
  if (context.is_training) {
    const Mixing mixing =
        draw_mixing(loss_.mixing, Philox(context.seed, Purpose::kMixup, batch.first_position),
                    images.size(1), images.size(2));
    images = mixing.images(images);
    wanted = mixing.targets(wanted);
    norms_.begin();
  }
  const auto mode = context.is_training ? BatchNormMode::kTraining : BatchNormMode::kEvaluation;
  const at::Tensor scores = network_->scores(network_->forward(input(images), mode));
  const at::Tensor value =
      -(wanted * at::log_softmax(scores, 1)).sum() / batch.denominators.at("samples");
  const at::Tensor correct = scores.detach().argmax(1).eq(wanted.argmax(1)).sum();
  return Loss{value, {{"accuracy", {correct, static_cast<double>(batch.num_samples)}}}};
}

at::Tensor ResNetObjective::features(const Batch& batch, const std::string&) {
  const at::NoGradGuard no_grad;
  const at::Tensor images = input(pixels_.normalise(batch.at("image")));
  return network_->forward(images, BatchNormMode::kEvaluation).to(at::kFloat);
}

at::Tensor ResNetObjective::scores(const Batch& batch) {
  const at::NoGradGuard no_grad;
  return network_->scores(features(batch, "mean"));
}

}  // namespace kiln
