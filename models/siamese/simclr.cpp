#include "models/siamese/simclr.h"

#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "models/contrast/collapse.h"
#include "models/contrast/losses.h"
#include "models/layers/parameters.h"
#include "models/siamese/views.h"

namespace kiln {

SimclrObjective::SimclrObjective(const SimclrShape& shape, PixelNormalisation pixels,
                                 const at::TensorOptions& options)
    : ViewObjective(std::move(pixels)),
      shape_(shape),
      encoder_(std::make_shared<ViewEncoder>(
          shape.backbone,
          normed_head(shape.head_layers - 1, shape.hidden, shape.out, LastNorm::kScale), options)),
      norms_(*encoder_) {}

void SimclrObjective::initialise(std::uint64_t seed) {
  encoder_->initialise(HeadInit::kNormal, seed, shape_.has_zero_last_gamma);
}

std::vector<Parameter> SimclrObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  std::vector<Parameter> list;
  encoder_->backbone.append(list);
  append_parameters(list, "head", *encoder_->head);
  return list;
}

Rows SimclrObjective::embed(const Batch& batch, const StepContext& context, std::size_t) {
  const at::Tensor images = at::cat({view(batch, 0), view(batch, 1)});  // [2 B, H, W, C]
  DropoutStream drop(context.seed, batch.first_position);
  norms_.begin();
  const at::Tensor z = encoder_->forward(images, BatchNormMode::kTraining, drop);  // [2 B, D]
  const auto halves = z.chunk(2);
  return {{"z.0", halves[0]}, {"z.1", halves[1]}};
}

Loss SimclrObjective::couple(const Rows& all, const StepContext&, std::size_t) {
  const at::Tensor z = at::cat({all.at("z.0"), all.at("z.1")});  // [2 N, D]
  const at::Tensor losses = nt_xent(z, shape_.temperature);
  Loss loss{losses.mean(), {}};
  const at::Tensor unit = unit_rows(z.detach());
  const auto halves = unit.chunk(2);
  add_similarity_metrics(halves[0], halves[1], loss.metrics);
  add_collapse_metrics(unit, loss.metrics);
  return loss;
}

std::unique_ptr<Objective> make_simclr(RecipeReader& reader, const Recipe& recipe,
                                       const DatasetInfo& data) {
  SimclrOptions options;
  reader.read("model", options);
  std::vector<std::string> problems = two_view_problems(data, recipe, "simclr");
  options.resolve(data, problems);
  check_range("model.temperature", options.temperature, 0.0, 100.0, problems);
  if (options.hidden < 1 || options.out < 1 || options.head_layers < 1) {
    problems.push_back("model.hidden, model.out and model.head_layers must be at least 1");
  }
  reader.update("model", options);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  const SimclrShape shape{.backbone = options.shape(data),
                          .hidden = options.hidden,
                          .out = options.out,
                          .head_layers = options.head_layers,
                          .temperature = options.temperature,
                          .has_zero_last_gamma = options.zero_last_gamma};
  const bool is_bf16 = recipe.run.precision == "bf16";
  auto objective =
      std::make_unique<SimclrObjective>(shape, PixelNormalisation(data.mean, data.std),
                                        at::TensorOptions(is_bf16 ? at::kBFloat16 : at::kFloat));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
