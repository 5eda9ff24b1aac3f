#include <fmt/format.h>

#include <cmath>

#include "core/base/nearest_name.h"
#include "models/dino/dino.h"
#include "models/siamese/views.h"

namespace kiln {
namespace {

std::vector<std::string> problems_of(const DinoOptions& options, const DatasetInfo& data) {
  std::vector<std::string> problems;
  check_range("model.student_temperature", options.student_temperature, 0.0, 100.0, problems);
  check_range("model.teacher_temperature", options.teacher_temperature, 0.0, 100.0, problems);
  check_range("model.first_teacher_temperature", options.first_teacher_temperature, 0.0, 100.0,
              problems);
  check_range("model.center_momentum", options.center_momentum, 0.0, 1.0, problems);
  check_range("model.momentum", options.momentum, 0.0, 1.0, problems);
  if (options.hidden < 1 || options.bottleneck < 1 || options.out < 2) {
    problems.push_back(
        "model.hidden and model.bottleneck must be at least 1, model.out at least 2");
  }
  if (options.freeze_last_layer_epochs < 0.0 || options.teacher_warmup_epochs < 0.0) {
    problems.push_back("epochs of a warm-up or of a frozen layer must not be negative");
  }
  if (options.position_resampling != "scale" && options.position_resampling != "size") {
    problems.push_back(
        unknown_name("model.position_resampling", options.position_resampling, {"scale", "size"}));
  }
  for (std::size_t v = 2; v < data.views.size(); ++v) {
    if (data.views[v].size != data.views[2].size) {
      problems.push_back(
          fmt::format("dino takes small crops of one size: [[data.views]] gives {} "
                      "and {}",
                      data.views[2].size, data.views[v].size));
    }
    if (options.backbone == "vit" && options.patch && data.views[v].size % *options.patch != 0) {
      problems.push_back(fmt::format("crops of {} pixels cannot be cut into patches of {}",
                                     data.views[v].size, *options.patch));
    }
  }
  return problems;
}

}  // namespace

std::unique_ptr<Objective> make_dino(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data) {
  DinoOptions options;
  reader.read("model", options);
  std::vector<std::string> problems = multi_crop_problems(data, recipe, "dino");
  options.resolve(data, problems);
  for (std::string& problem : problems_of(options, data)) problems.push_back(std::move(problem));
  reader.update("model", options);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  DinoShape shape{.backbone = options.shape(data)};
  if (auto* vit = std::get_if<VitShape>(&shape.backbone)) vit->has_learned_positions = true;
  shape.resampling = options.position_resampling == "size" ? PositionResampling::kSize
                                                           : PositionResampling::kScale;
  shape.hidden = options.hidden;
  shape.bottleneck = options.bottleneck;
  shape.out = options.out;
  if (!data.views.empty()) shape.num_crops = static_cast<std::int64_t>(data.views.size());
  shape.has_fixed_norms = options.norm_last_layer;
  shape.student_temperature = options.student_temperature;
  shape.teacher_temperature = options.teacher_temperature;
  shape.first_teacher_temperature = options.first_teacher_temperature;
  shape.teacher_warmup_epochs = options.teacher_warmup_epochs;
  shape.center_momentum = options.center_momentum;
  shape.momentum = options.momentum;
  shape.frozen_samples =
      std::llround(options.freeze_last_layer_epochs * static_cast<double>(data.num_samples));
  shape.has_zero_last_gamma = options.zero_last_gamma;
  const bool is_bf16 = recipe.run.precision == "bf16";
  auto objective =
      std::make_unique<DinoObjective>(shape, PixelNormalisation(data.mean, data.std),
                                      at::TensorOptions(is_bf16 ? at::kBFloat16 : at::kFloat));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
