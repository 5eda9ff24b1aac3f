#include "models/byol/byol.h"

#include "models/contrast/collapse.h"
#include "models/siamese/views.h"

namespace kiln {
namespace {

/// A hidden layer with bias, batch norm and ReLU, and a linear one without bias.
std::vector<HeadLayer> byol_head(const ByolOptions& options) {
  return {{.width = options.hidden, .has_norm = true, .activation = HeadLayer::Activation::kRelu},
          {.width = options.out, .has_bias = false}};
}

}  // namespace

Loss ByolObjective::couple(const Rows& all, const StepContext&, std::size_t) {
  const at::Tensor &q0 = all.at("q.0"), &k1 = all.at("k.1");
  const at::Tensor first = (q0 * k1).sum(1);
  const at::Tensor second = (all.at("q.1") * all.at("k.0")).sum(1);
  Loss loss{(4.0 - 2.0 * (first + second)).mean(), {}};
  add_similarity_metrics(q0, k1, loss.metrics);
  add_collapse_metrics(q0, loss.metrics);
  return loss;
}

std::unique_ptr<Objective> make_byol(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data) {
  ByolOptions options;
  reader.read("model", options);
  std::vector<std::string> problems = two_view_problems(data, recipe, "byol");
  options.resolve(data, problems);
  check_range("model.momentum", options.momentum, 0.0, 1.0, problems);
  if (options.hidden < 1 || options.out < 1) {
    problems.push_back("model.hidden and model.out must be at least 1");
  }
  reader.update("model", options);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  MomentumShape shape{.backbone = options.shape(data)};
  shape.projector = shape.predictor = byol_head(options);
  shape.is_symmetric = true;
  shape.momentum = options.momentum;
  shape.last_momentum = 1.0;
  shape.has_zero_last_gamma = options.zero_last_gamma;
  const bool is_bf16 = recipe.run.precision == "bf16";
  auto objective =
      std::make_unique<ByolObjective>(shape, PixelNormalisation(data.mean, data.std),
                                      at::TensorOptions(is_bf16 ? at::kBFloat16 : at::kFloat));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
