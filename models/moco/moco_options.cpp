#include <fmt/format.h>

#include "models/moco/moco.h"
#include "models/siamese/views.h"

namespace kiln {
namespace {

std::int64_t width_of(const BackboneShape& shape) {
  const auto* resnet = std::get_if<ResNetShape>(&shape);
  return resnet ? resnet->dim() : std::get<VitShape>(shape).dim;
}

}  // namespace

void MocoOptions::resolve(const DatasetInfo& data, const Recipe& recipe,
                          std::vector<std::string>& problems) {
  if (version < 1 || version > 3) {
    problems.push_back(fmt::format("model.version = {}: expected 1, 2 or 3", version));
  }
  BackboneOptions::resolve(data, problems);
  if (!problems.empty()) return;
  const bool is_resnet = backbone == "resnet";
  const bool is_third = version == 3;
  temperature = temperature.value_or(version == 1 ? 0.07 : is_third && is_resnet ? 1.0 : 0.2);
  momentum = momentum.value_or(!is_third ? 0.999 : is_resnet ? 0.996 : 0.99);
  hidden = hidden.value_or(is_third ? 4096 : width_of(BackboneOptions::shape(data)));
  out = out.value_or(is_third ? 256 : 128);
  check_range("model.temperature", *temperature, 0.0, 100.0, problems);
  check_range("model.momentum", *momentum, 0.0, 1.0, problems);
  if (*hidden < 1 || *out < 1) problems.push_back("model.hidden and model.out must be at least 1");
  if (is_third) return;
  queue = queue.value_or(65536);
  for (std::string& problem : queue_problems(*queue, recipe.train.global_batch)) {
    problems.push_back(std::move(problem));
  }
  const std::int64_t micro_batch = recipe.train.micro_batch;
  if (batch_norm_groups < 1 || (micro_batch > 0 && (micro_batch % batch_norm_groups != 0 ||
                                                    micro_batch < 2 * batch_norm_groups))) {
    problems.push_back(
        fmt::format("model.batch_norm_groups = {}: it must divide train.micro_batch = {} into "
                    "groups of at least 2",
                    batch_norm_groups, micro_batch));
  }
}

MomentumShape MocoOptions::momentum_shape(const DatasetInfo& data) const {
  MomentumShape shape{.backbone = BackboneOptions::shape(data)};
  shape.momentum = shape.last_momentum = *momentum;
  shape.has_zero_last_gamma = zero_last_gamma;
  if (version == 3) {
    const bool is_vit = backbone == "vit";
    shape.projector = normed_head(is_vit ? 2 : 1, *hidden, *out, LastNorm::kPlain);
    shape.predictor = normed_head(1, *hidden, *out, is_vit ? LastNorm::kPlain : LastNorm::kNone);
    shape.is_symmetric = true;
    shape.last_momentum = 1.0;
    shape.has_frozen_patches = shape.has_decay_everywhere = is_vit;
    return shape;
  }
  if (version == 2) {
    shape.projector.push_back({.width = *hidden, .activation = HeadLayer::Activation::kRelu});
  }
  shape.projector.push_back({.width = *out});
  shape.num_groups = batch_norm_groups;
  shape.has_decay_everywhere = true;
  return shape;
}

std::unique_ptr<Objective> make_moco(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data) {
  MocoOptions options;
  reader.read("model", options);
  std::vector<std::string> problems = two_view_problems(data, recipe, "moco");
  options.resolve(data, recipe, problems);
  reader.update("model", options);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  const MomentumShape shape = options.momentum_shape(data);
  const PixelNormalisation pixels(data.mean, data.std);
  const at::TensorOptions type(recipe.run.precision == "bf16" ? at::kBFloat16 : at::kFloat);
  std::unique_ptr<MomentumObjective> objective;
  if (options.version == 3) {
    objective = std::make_unique<MocoBatchObjective>(shape, *options.temperature, pixels, type);
  } else {
    objective = std::make_unique<MocoQueueObjective>(shape, *options.queue, *options.temperature,
                                                     pixels, type);
  }
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
