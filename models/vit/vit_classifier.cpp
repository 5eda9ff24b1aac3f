#include "models/vit/vit_classifier.h"

#include <fmt/format.h>

#include <cmath>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "models/layers/init.h"
#include "models/layers/workload.h"
#include "models/operators/precision.h"

namespace kiln {
namespace {

constexpr double kHeadStd = 2e-5;
constexpr double kProbeHeadStd = 0.01;
// Of the probe's batch norm.
constexpr double kVarianceEps = 1e-6;
constexpr double kMomentum = 0.1;

}  // namespace

std::vector<std::string> ClassifierShape::problems() const {
  std::vector<std::string> found = encoder.problems();
  if (num_classes < 2) {
    found.push_back(
        fmt::format("a classifier of {} classes: the dataset has no class names, so give "
                    "model.classes",
                    num_classes));
  }
  return found;
}

ClassifierShape classifier_shape(const VitShape& encoder, Pool pool, std::int64_t num_classes) {
  ClassifierShape shape{encoder, pool, num_classes};
  shape.encoder.has_final_norm = pool == Pool::kCls;
  return shape;
}

VitClassifier::VitClassifier(const ClassifierShape& choice, const at::TensorOptions& options)
    : Vit(choice.encoder, options), classifier(choice) {
  KILN_CHECK(choice.encoder.has_final_norm == (choice.pool == Pool::kCls), "norm and pool");
  if (classifier.pool == Pool::kMean) {
    fc_norm = register_module(
        "fc_norm", std::make_shared<LayerNorm>(shape.dim, shape.layer_norm_eps, options));
  }
  head =
      register_module("head", std::make_shared<Linear>(shape.dim, classifier.num_classes, options));
  if (classifier.is_probe) {
    const auto fp32 = options.dtype(at::kFloat);
    feature_mean = register_buffer("feature_mean", at::zeros({shape.dim}, fp32));
    feature_var = register_buffer("feature_var", at::ones({shape.dim}, fp32));
  }
}

at::Tensor VitClassifier::pooled(const at::Tensor& tokens) const {
  if (classifier.pool == Pool::kCls) return tokens.select(1, 0);
  return fc_norm->forward(tokens.narrow(1, 1, tokens.size(1) - 1).mean(1));
}

at::Tensor VitClassifier::embed_images(const at::Tensor& patches, DropoutStream& drop) const {
  const at::AutoGradMode with_grad(at::GradMode::is_enabled() && !classifier.is_probe);
  return pooled(encode(patches, {}, drop));
}

ClassifierObjective::ClassifierObjective(const ClassifierShape& shape, const ClassifierLoss& loss,
                                         PixelNormalisation pixels,
                                         const at::TensorOptions& options)
    : network_(std::make_shared<VitClassifier>(shape, options)),
      loss_(loss),
      pixels_(std::move(pixels)) {
  if (!shape.is_probe) return;
  const at::Tensor zeros = at::zeros({shape.encoder.dim}, options.dtype(at::kFloat));
  sums_ = {{"features", zeros}, {"squares", zeros}, {"count", at::zeros({1}, zeros.options())}};
}

void ClassifierObjective::initialise(std::uint64_t seed) {
  std::vector<Parameter> list = all_parameters();
  const double head_std = network_->classifier.is_probe ? kProbeHeadStd : kHeadStd;
  initialise_vit(list, seed);
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].name == "head.weight") {
      fill_truncated_normal(list[i].tensor, head_std, init_stream(seed, i));
    } else if (list[i].name == "pos_embed") {
      fill_truncated_normal(list[i].tensor, 0.02, init_stream(seed, i));
    }
  }
}

void ClassifierObjective::load_encoder(const NamedTensors& tensors, const std::string& origin) {
  NamedTensors all = named_tensors(*network_);
  for (auto& [name, value] : all) {
    const bool is_own =
        name.starts_with("fc_norm.") || name.starts_with("head.") || name.starts_with("feature_");
    const auto found = tensors.find(name);
    if (is_own) continue;
    if (found == tensors.end()) {
      throw checkpoint_error("{} holds no encoder for this classifier: '{}' is missing", origin,
                             name);
    }
    value = found->second;
  }
  load_tensors(*network_, all, origin);
}

std::vector<Parameter> ClassifierObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  if (!network_->classifier.is_probe) return all_parameters();
  std::vector<Parameter> list;
  append_parameters(list, "head", *network_->head);
  return list;
}

std::vector<Parameter> ClassifierObjective::all_parameters() const {
  std::vector<Parameter> list = vit_parameters(*network_);
  if (network_->fc_norm) append_parameters(list, "fc_norm", *network_->fc_norm);
  append_parameters(list, "head", *network_->head);
  const std::int64_t num_layers = network_->shape.depth + 1;
  for (Parameter& parameter : list) {
    std::int64_t layer = num_layers;  // norms and head
    const std::string& name = parameter.name;
    if (name.starts_with("blocks.")) {
      layer = std::stoll(name.substr(7)) + 1;
    } else if (name == "cls_token" || name == "pos_embed" || name.starts_with("patch_embed.")) {
      layer = 0;
    }
    parameter.lr_scale = std::pow(loss_.layer_decay, static_cast<double>(num_layers - layer));
    // As timm fine-tunes: tokens and positions are not decayed here, unlike in pretraining.
    if (name == "cls_token" || name == "pos_embed") parameter.has_decay = false;
  }
  return list;
}

std::vector<Buffer> ClassifierObjective::buffers() {
  if (network_->classifier.is_probe) {
    std::vector<Buffer> list;
    for (const auto& [name, tensor] : named_tensors(*network_)) {
      if (!name.starts_with("head.")) list.push_back({name, tensor.detach()});
    }
    return list;
  }
  if (network_->shape.has_learned_positions) return {};
  return {{"pos_embed", network_->pos_embed}};
}

void ClassifierObjective::prepare(Batch& batch, std::uint64_t) const {
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
}

void ClassifierObjective::after_step(const StepContext&, const Sums& sums, const Rows&) {
  if (!network_->classifier.is_probe) return;
  const at::NoGradGuard no_grad;
  const at::Tensor count = sums.at("count");
  const at::Tensor mean = sums.at("features") / count;
  // Unbiased, as the moving variance of a batch norm is.
  const at::Tensor variance = (sums.at("squares") - count * mean.square()) / (count - 1).clamp(1);
  network_->feature_mean.lerp_(mean.to(network_->feature_mean.options()), kMomentum);
  network_->feature_var.lerp_(variance.to(network_->feature_var.options()), kMomentum);
}

at::Tensor ClassifierObjective::standardised(const at::Tensor& features, bool is_training) {
  const at::Tensor x = features.to(at::kFloat);
  if (!is_training) {
    return (x - network_->feature_mean) * (network_->feature_var + kVarianceEps).rsqrt();
  }
  sums_ = {{"features", x.sum(0)},
           {"squares", x.square().sum(0)},
           {"count", at::full({1}, x.size(0), x.options())}};
  const auto [variance, mean] = at::var_mean(x, at::IntArrayRef{0}, /*correction=*/0, false);
  return (x - mean) * (variance + kVarianceEps).rsqrt();
}

at::Tensor ClassifierObjective::logits(const at::Tensor& images, DropoutStream& drop,
                                       bool is_training) {
  const auto type = network_->cls_token.scalar_type();
  at::Tensor x = network_->embed_images(patchify(images, network_->shape.patch).to(type), drop);
  if (network_->classifier.is_probe) x = standardised(x, is_training).to(type);
  return at_least_fp32(network_->head->forward(x));
}

at::Tensor ClassifierObjective::targets(const at::Tensor& labels, double smoothing) const {
  const std::int64_t K = network_->classifier.num_classes;
  const at::Tensor hot = at::one_hot(labels.to(at::kLong), K).to(at::kFloat);
  return hot * (1.0 - smoothing) + smoothing / static_cast<double>(K);
}

std::optional<Loss> ClassifierObjective::loss(const Batch& batch, const StepContext& context,
                                              std::size_t) {
  DropoutStream drop =
      context.is_training ? DropoutStream(context.seed, batch.first_position) : DropoutStream();
  at::Tensor images = pixels_.normalise(batch.at("image"));
  at::Tensor wanted = targets(batch.at("label"), context.is_training ? loss_.label_smoothing : 0.0);
  if (context.is_training) {
    const Mixing mixing =
        draw_mixing(loss_.mixing, Philox(context.seed, Purpose::kMixup, batch.first_position),
                    network_->shape.height, network_->shape.width);
    images = mixing.images(images);
    wanted = mixing.targets(wanted);
  }
  const at::Tensor scores = logits(images, drop, context.is_training);
  const at::Tensor value =
      -(wanted * at::log_softmax(scores, 1)).sum() / batch.denominators.at("samples");
  const at::Tensor correct = scores.detach().argmax(1).eq(wanted.argmax(1)).sum();
  return Loss{value, {{"accuracy", {correct, static_cast<double>(batch.num_samples)}}}};
}

at::Tensor ClassifierObjective::features(const Batch& batch, const std::string& pooling) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  const at::Tensor patches = patchify(pixels_.normalise(batch.at("image")), network_->shape.patch);
  const at::Tensor x = network_->encode(patches.to(network_->cls_token.scalar_type()), {}, none);
  if (pooling == "cls") return x.select(1, 0).to(at::kFloat);
  return x.narrow(1, 1, x.size(1) - 1).mean(1, false, at::kFloat);
}

at::Tensor ClassifierObjective::scores(const Batch& batch) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  return logits(pixels_.normalise(batch.at("image")), none, false);
}

Workload::Work ClassifierObjective::work(const Batch& like) {
  const std::int64_t B = like.num_samples, L = network_->shape.num_patches();
  WorkList list(parameters(0));
  if (network_->classifier.is_probe) list.freeze();
  list.blocks("blocks", network_->blocks, B, 1 + L);
  list.module("patch_embed", *network_->patch_embed, B * L);
  list.unfreeze();
  list.module("head", *network_->head, B);
  return std::move(list).work();
}

}  // namespace kiln
