#include "models/dino/dino.h"

#include <cmath>

#include "core/base/error.h"
#include "models/contrast/collapse.h"
#include "models/contrast/losses.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"
#include "models/layers/submodule.h"
#include "models/siamese/views.h"

namespace kiln {
namespace {

constexpr std::int64_t kGlobalCrops = 2;

at::TensorOptions wide(const at::TensorOptions& options) {
  return options.dtype(options.dtype() == at::kDouble ? at::kDouble : at::kFloat);
}

std::vector<HeadLayer> mlp_layers(const DinoShape& shape) {
  const auto gelu = HeadLayer::Activation::kGelu;
  return {{.width = shape.hidden, .activation = gelu},
          {.width = shape.hidden, .activation = gelu},
          {.width = shape.bottleneck}};
}

}  // namespace

DinoHead::LastLayer::LastLayer(std::int64_t in, std::int64_t out,
                               const at::TensorOptions& options) {
  weight_g = register_parameter("weight_g", at::empty({out, 1}, options));
  weight_v = register_parameter("weight_v", at::empty({out, in}, options));
}

DinoHead::DinoHead(std::int64_t in, const DinoShape& shape, const at::TensorOptions& options) {
  mlp = add<MlpHead>(*this, "mlp", in, mlp_layers(shape), options);
  last_layer = add<LastLayer>(*this, "last_layer", shape.bottleneck, shape.out, options);
  if (shape.has_fixed_norms) last_layer->weight_g.requires_grad_(false);
}

at::Tensor DinoHead::forward(const at::Tensor& x) const {
  const at::Tensor h = unit_rows(mlp->forward(x, BatchNormMode::kTraining));
  const at::Tensor v = last_layer->weight_v.to(h.scalar_type());
  const at::Tensor g = last_layer->weight_g.to(h.scalar_type());
  const at::Tensor weight = v * (g / v.norm(2, {1}, /*keepdim=*/true));
  const auto type = last_layer->weight_v.scalar_type();
  return at::linear(h.to(type), weight.to(type)).to(h.scalar_type());
}

void DinoHead::initialise(std::uint64_t seed, std::size_t first) const {
  first = initialise_head(*mlp, HeadInit::kTruncated, seed, first);
  const at::NoGradGuard no_grad;
  last_layer->weight_g.fill_(1.0);
  const double bound = 1.0 / std::sqrt(static_cast<double>(last_layer->weight_v.size(1)));
  fill_uniform(last_layer->weight_v, bound, init_stream(seed, first));
}

DinoObjective::Branch::Branch(const DinoShape& shape, const at::TensorOptions& options)
    : backbone(*this, "backbone", shape.backbone, options, shape.resampling) {
  head = add<DinoHead>(*this, "head", backbone.dim(), shape, options);
}

DinoObjective::Network::Network(const DinoShape& shape, const at::TensorOptions& options)
    : Branch(shape, options) {
  // The teacher sees whole branches: stochastic depth is the student's alone, since nothing draws.
  teacher = add<Branch>(*this, "teacher", shape, options);
  for (at::Tensor& tensor : teacher->parameters()) tensor.requires_grad_(false);
  center = register_buffer("center", at::zeros({1, shape.out}, wide(options)));
}

DinoObjective::DinoObjective(const DinoShape& shape, PixelNormalisation pixels,
                             const at::TensorOptions& options)
    : ViewObjective(std::move(pixels)),
      shape_(shape),
      network_(std::make_shared<Network>(shape, options)),
      student_norms_(network_->backbone.module(), shape.num_crops > kGlobalCrops ? 2 : 1),
      teacher_norms_(network_->teacher->backbone.module()),
      teacher_sum_(at::zeros_like(network_->center)) {}

void DinoObjective::initialise(std::uint64_t seed) {
  const std::size_t next = network_->backbone.initialise(seed, shape_.has_zero_last_gamma);
  network_->head->initialise(seed, next);
  if (!network_->backbone.is_vit()) return;
  const at::NoGradGuard no_grad;
  std::size_t index = 0;
  for (Parameter& parameter : vit_parameters(network_->backbone.vit())) {
    const Philox stream = init_stream(seed, index++);
    if (parameter.tensor.dim() == 2) fill_truncated_normal(parameter.tensor, 0.02, stream);
  }
}

std::vector<Parameter> DinoObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  std::vector<Parameter> list;
  network_->backbone.append(list);
  append_parameters(list, "head", *network_->head);
  for (Parameter& parameter : list) {
    if (parameter.name.starts_with("head.last_layer.")) {
      parameter.frozen_samples = shape_.frozen_samples;
    }
  }
  if (shape_.has_fixed_norms) {
    std::erase_if(list, [](const Parameter& one) { return one.name.ends_with("weight_g"); });
  }
  return list;
}

at::Tensor DinoObjective::student_scores(const Batch& batch, const StepContext& context) {
  DropoutStream drop(context.seed, batch.first_position);
  student_norms_.begin();
  std::vector<at::Tensor> features;
  for (std::int64_t begin = 0; begin < shape_.num_crops;) {
    // Crops of one size go through the backbone as one batch.
    const std::int64_t end = begin == 0 ? kGlobalCrops : shape_.num_crops;
    std::vector<at::Tensor> crops;
    for (std::int64_t v = begin; v < end; ++v) crops.push_back(view(batch, v));
    features.push_back(network_->backbone.forward(at::cat(crops), BatchNormMode::kTraining, drop));
    begin = end;
  }
  return network_->head->forward(at::cat(features));
}

at::Tensor DinoObjective::teacher_scores(const Batch& batch) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  teacher_norms_.begin();
  const at::Tensor images = at::cat({view(batch, 0), view(batch, 1)});
  const Branch& teacher = *network_->teacher;
  return teacher.head->forward(teacher.backbone.forward(images, BatchNormMode::kTraining, none));
}

std::optional<Loss> DinoObjective::loss(const Batch& batch, const StepContext& context,
                                        std::size_t) {
  const std::int64_t B = batch.num_samples, V = shape_.num_crops;
  const at::Tensor teacher = teacher_scores(batch);  // [2 B, K]
  teacher_sum_ = teacher.sum(0, /*keepdim=*/true);
  const at::Tensor targets =
      at::softmax((teacher - network_->center) / context.value("teacher_temperature"), 1);
  const at::Tensor student = student_scores(batch, context);  // [V B, K]
  const at::Tensor logs = at::log_softmax(student / shape_.student_temperature, 1);
  at::Tensor total = at::zeros({}, student.options());
  for (std::int64_t a = 0; a < kGlobalCrops; ++a) {
    const at::Tensor target = targets.narrow(0, a * B, B);
    for (std::int64_t v = 0; v < V; ++v) {
      if (v != a) total = total - (target * logs.narrow(0, v * B, B)).sum();
    }
  }
  const double pairs = static_cast<double>(kGlobalCrops * (V - 1));
  Loss loss{total / (pairs * batch.denominators.at("samples")), {}};
  const at::NoGradGuard no_grad;
  const auto n = static_cast<double>(B);
  loss.metrics["teacher_entropy"] = {mean_entropy(targets) * n, n};
  if (B > 1) loss.metrics["feature_std"] = {feature_deviation(student.narrow(0, 0, B)) * n, n};
  return loss;
}

std::vector<Buffer> DinoObjective::buffers() {
  std::vector<Buffer> list = running_statistics(*network_);
  if (shape_.has_fixed_norms) {
    list.push_back({"head.last_layer.weight_g", network_->head->last_layer->weight_g});
  }
  return list;
}

std::vector<Average> DinoObjective::averages() {
  Average average{.name = "teacher", .schedule = "momentum"};
  const auto sources = network_->named_parameters();
  for (const auto& target : network_->teacher->named_parameters()) {
    average.pairs.push_back({target.key(), sources[target.key()], target.value()});
  }
  return {average};
}

std::vector<NamedSchedule> DinoObjective::schedules() const {
  return {{"momentum", {.name = "cosine", .start = shape_.momentum, .end = 1.0}},
          {"teacher_temperature",
           {.start = shape_.teacher_temperature,
            .warmup_from = shape_.first_teacher_temperature,
            .warmup_epochs = shape_.teacher_warmup_epochs,
            .per_epoch = true}}};
}

Sums DinoObjective::sums(std::size_t) {
  Sums sums = student_norms_.sums("student_norms");
  sums.merge(teacher_norms_.sums("teacher_norms"));
  sums["teacher"] = teacher_sum_;
  return sums;
}

void DinoObjective::after_step(const StepContext& context, const Sums& sums, const Rows&) {
  const at::NoGradGuard no_grad;
  student_norms_.move(sums, "student_norms");
  teacher_norms_.move(sums, "teacher_norms");
  const double m = shape_.center_momentum;
  const auto count = static_cast<double>(kGlobalCrops * context.global_batch);
  const at::Tensor mean = sums.at("teacher").to(network_->center.options()) / count;
  network_->center.copy_(network_->center * m + mean * (1.0 - m));
}

}  // namespace kiln
