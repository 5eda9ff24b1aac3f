#include "tests/support/toy_family/toy_twins.h"

#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"

namespace kiln::test {
namespace {

/// uint8 [B, H, W, C] -> [B, P] in [-1, 1].
at::Tensor signed_pixels(const at::Tensor& images) {
  return images.flatten(1).to(at::kFloat).div_(127.5).sub_(1.0);
}

}  // namespace

ToyTwinsNetwork::ToyTwinsNetwork(const ToyTwinsShape& shape, const at::TensorOptions& options) {
  const std::vector<std::int64_t> matrix = {shape.dim, shape.pixels()};
  encoder = register_parameter("encoder", at::empty(matrix, options));
  teacher = register_buffer("teacher", at::empty(matrix, options));
  means = register_parameter("means", at::zeros({shape.classes, shape.pixels()}, options));
  log_variance =
      register_parameter("log_variance", at::zeros({shape.classes, shape.pixels()}, options));
}

ToyTwins::ToyTwins(const ToyTwinsShape& shape, const at::TensorOptions& options, std::uint64_t seed)
    : shape_(shape), network_(std::make_shared<ToyTwinsNetwork>(shape, options)) {
  const at::NoGradGuard no_grad;
  fill_xavier_uniform(network_->encoder, init_stream(seed, 0));
  network_->teacher.copy_(network_->encoder);
}

void ToyTwins::check(const Batch& sample, const std::string& path) const {
  if (sample.tensors.contains("label")) return;
  throw usage_error("toy_twins learns a distribution for each class; '{}' has no labels", path);
}

void ToyTwins::prepare(Batch& batch, std::uint64_t) const {
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
}

std::vector<Phase> ToyTwins::phases() const {
  return {{.name = "twins", .is_coupled = true},
          {.name = "pixels", .optimizer = {.name = "sgd", .lr = 100.0, .momentum = 0.0}}};
}

std::vector<Parameter> ToyTwins::parameters(std::size_t phase) {
  std::vector<Parameter> list;
  if (phase == 0) {
    append_parameter(list, "encoder", network_->encoder);
  } else {
    append_parameter(list, "means", network_->means);
    append_parameter(list, "log_variance", network_->log_variance);
  }
  return list;
}

std::vector<Average> ToyTwins::averages() {
  return {{.name = "teacher",
           .pairs = {{"weight", network_->encoder, network_->teacher}},
           .decay = shape_.teacher_decay}};
}

at::Tensor ToyTwins::rows(const at::Tensor& images, const at::Tensor& weights) const {
  const at::Tensor x = at::linear(signed_pixels(images).to(weights.scalar_type()), weights);
  const at::Tensor wide = x.to(at::kFloat);
  return wide / wide.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-6);
}

Rows ToyTwins::embed(const Batch& batch, const StepContext&, std::size_t) {
  if (!batch.tensors.contains("image.1")) {
    throw usage_error("toy_twins compares two views: list them in the recipe as [[data.views]]");
  }
  const at::Tensor query = rows(batch.at("image.0"), network_->encoder);
  return {{"query", query}, {"key", rows(batch.at("image.1"), network_->teacher).detach()}};
}

Loss ToyTwins::couple(const Rows& all, const StepContext&, std::size_t) {
  const at::Tensor scores = all.at("query").mm(all.at("key").t()) / shape_.temperature;  // [N, N]
  const at::Tensor own = at::arange(scores.size(0), scores.options().dtype(at::kLong));
  const at::Tensor right = scores.detach().argmax(1).eq(own).sum();
  return {at::cross_entropy_loss(scores, own),
          {{"twin_accuracy", {right, static_cast<double>(scores.size(0))}}}};
}

at::Tensor ToyTwins::pixel_losses(const at::Tensor& images, const at::Tensor& labels) const {
  const at::Tensor x = signed_pixels(images);
  const at::Tensor label = labels.to(x.device(), at::kLong);
  const at::Tensor mean = network_->means.index_select(0, label).to(at::kFloat);
  const at::Tensor log_variance = network_->log_variance.index_select(0, label).to(at::kFloat);
  return 0.5 * ((x - mean).square() * (-log_variance).exp() + log_variance +
                std::log(2.0 * std::numbers::pi));
}

std::optional<Loss> ToyTwins::loss(const Batch& batch, const StepContext&, std::size_t) {
  const at::Tensor nats = pixel_losses(batch.at("image.0"), batch.at("label")).mean(1).sum();
  return Loss{nats / batch.denominators.at("samples"),
              {{"nats_per_pixel", {nats.detach(), static_cast<double>(batch.num_samples)}}}};
}

}  // namespace kiln::test
