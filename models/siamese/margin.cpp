#include "models/siamese/margin.h"

#include <fmt/format.h>

#include <limits>

#include "core/base/error.h"
#include "models/contrast/losses.h"
#include "models/layers/parameters.h"
#include "models/siamese/views.h"

namespace kiln {
namespace {

std::vector<HeadLayer> map_head(const MarginShape& shape) {
  return {{.width = shape.hidden, .activation = HeadLayer::Activation::kRelu},
          {.width = shape.out}};
}

}  // namespace

MarginObjective::MarginObjective(const MarginShape& shape, PixelNormalisation pixels,
                                 const at::TensorOptions& options)
    : shape_(shape),
      encoder_(std::make_shared<ViewEncoder>(shape.backbone, map_head(shape), options)),
      norms_(*encoder_),
      pixels_(std::move(pixels)) {}

void MarginObjective::initialise(std::uint64_t seed) {
  encoder_->initialise(HeadInit::kUniform, seed, shape_.has_zero_last_gamma);
}

void MarginObjective::prepare(Batch& batch, std::uint64_t) const {
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
}

std::vector<Parameter> MarginObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  std::vector<Parameter> list;
  encoder_->backbone.append(list);
  append_parameters(list, "head", *encoder_->head);
  return list;
}

std::optional<Loss> MarginObjective::loss(const Batch& batch, const StepContext& context,
                                          std::size_t) {
  const std::int64_t B = batch.num_samples;
  const at::Tensor images = pixels_.normalise(batch.at("image"));
  DropoutStream drop;
  if (context.is_training) {
    drop = DropoutStream(context.seed, batch.first_position);
    norms_.begin();
  }
  const auto mode = context.is_training ? BatchNormMode::kTraining : BatchNormMode::kEvaluation;
  const at::Tensor points = encoder_->forward(images, mode, drop);  // [B, D]
  const at::Tensor pairs =
      at::triu_indices(B, B, 1, at::TensorOptions(at::kLong).device(points.device()));
  const at::Tensor a = points.index_select(0, pairs[0]), b = points.index_select(0, pairs[1]);
  const at::Tensor& labels = batch.at("label");
  const at::Tensor same = labels.index_select(0, pairs[0]).eq(labels.index_select(0, pairs[1]));
  const double share = static_cast<double>(B) / batch.denominators.at("samples");
  Loss loss{margin_loss(a, b, same, shape_.margin).mean() * share, {}};
  const at::NoGradGuard no_grad;
  const at::Tensor distance = (a - b).norm(2, {1});
  const auto mean_where = [&](const at::Tensor& which) {
    const at::Tensor weight = which.to(distance.scalar_type());
    return (distance * weight).sum() / weight.sum().clamp_min(1.0);
  };
  loss.metrics["same_label_distance"] = {mean_where(same), 1.0};
  loss.metrics["other_label_distance"] = {mean_where(same.logical_not()), 1.0};
  return loss;
}

at::Tensor MarginObjective::features(const Batch& batch, const std::string& pooling) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  const at::Tensor images = pixels_.normalise(batch.at("image"));
  const at::Tensor hidden = encoder_->backbone.forward(images, BatchNormMode::kEvaluation, none);
  if (pooling == "backbone") return hidden.to(at::kFloat);
  return encoder_->head->forward(hidden, BatchNormMode::kEvaluation).to(at::kFloat);
}

std::unique_ptr<Objective> make_margin(RecipeReader& reader, const Recipe& recipe,
                                       const DatasetInfo& data) {
  MarginOptions options;
  reader.read("model", options);
  std::vector<std::string> problems;
  options.resolve(data, problems);
  check_range("model.margin", options.margin, 0.0, std::numeric_limits<double>::max(), problems);
  if (data.class_names.empty()) {
    problems.push_back("data.path: the margin loss needs labels, and this dataset has none");
  }
  if (options.hidden < 1 || options.out < 1) {
    problems.push_back("model.hidden and model.out must be at least 1");
  }
  if (recipe.train.global_batch < 2 || recipe.train.micro_batch == 1) {
    problems.push_back(
        fmt::format("train.micro_batch = {}: pairs are those of a micro-batch, which "
                    "needs at least 2 pictures",
                    recipe.train.micro_batch));
  }
  reader.update("model", options);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  const MarginShape shape{.backbone = options.shape(data),
                          .hidden = options.hidden,
                          .out = options.out,
                          .margin = options.margin,
                          .has_zero_last_gamma = options.zero_last_gamma};
  const bool is_bf16 = recipe.run.precision == "bf16";
  auto objective =
      std::make_unique<MarginObjective>(shape, PixelNormalisation(data.mean, data.std),
                                        at::TensorOptions(is_bf16 ? at::kBFloat16 : at::kFloat));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
