#include "models/moby/moby.h"

#include "models/contrast/collapse.h"
#include "models/contrast/losses.h"
#include "models/siamese/views.h"

namespace kiln {
namespace {

constexpr std::size_t kQueueStream = 1 << 20;  // above the number of any parameter

}  // namespace

std::vector<HeadLayer> moby_head(std::int64_t hidden, std::int64_t out) {
  return {{.width = hidden, .has_norm = true, .activation = HeadLayer::Activation::kRelu},
          {.width = out}};
}

MobyObjective::MobyObjective(const MomentumShape& choice, std::int64_t queue, double temperature,
                             PixelNormalisation pixels, const at::TensorOptions& options)
    : MomentumObjective(choice, std::move(pixels), options),
      temperature_(temperature),
      queue1_(module(), "queue1", queue, width(), options),
      queue2_(module(), "queue2", queue, width(), options) {}

void MobyObjective::initialise(std::uint64_t seed) {
  MomentumObjective::initialise(seed);
  queue1_.initialise(seed, kQueueStream);
  queue2_.initialise(seed, kQueueStream + 1);
}

Loss MobyObjective::couple(const Rows& all, const StepContext&, std::size_t) {
  const at::Tensor& q0 = all.at("q.0");
  const QueueContrast first = info_nce_with_queue(q0, all.at("k.1"), queue2_.keys(), temperature_);
  const QueueContrast second =
      info_nce_with_queue(all.at("q.1"), all.at("k.0"), queue1_.keys(), temperature_);
  Loss loss{first.losses.mean() + second.losses.mean(), {}};
  const at::NoGradGuard no_grad;
  const auto n = static_cast<double>(q0.size(0));
  const at::Tensor right = first.positives > std::get<0>(first.negatives.max(1));
  loss.metrics["accuracy"] = {right.sum(), n};
  loss.metrics["positive_similarity"] = {first.positives.sum(), n};
  loss.metrics["negative_similarity"] = {first.negatives.mean(), 1.0};
  add_collapse_metrics(q0, loss.metrics);
  return loss;
}

void MobyObjective::after_step(const StepContext& context, const Sums& sums, const Rows& rows) {
  MomentumObjective::after_step(context, sums, rows);
  queue1_.push(rows.at("k.0"));
  queue2_.push(rows.at("k.1"));
}

std::unique_ptr<Objective> make_moby(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data) {
  MobyOptions options;
  reader.read("model", options);
  std::vector<std::string> problems = two_view_problems(data, recipe, "moby");
  options.resolve(data, problems);
  for (std::string& problem : queue_problems(options.queue, recipe.train.global_batch)) {
    problems.push_back(std::move(problem));
  }
  check_range("model.temperature", options.temperature, 0.0, 100.0, problems);
  check_range("model.momentum", options.momentum, 0.0, 1.0, problems);
  if (options.hidden < 1 || options.out < 1) {
    problems.push_back("model.hidden and model.out must be at least 1");
  }
  reader.update("model", options);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  MomentumShape shape{.backbone = options.shape(data)};
  if (auto* vit = std::get_if<VitShape>(&shape.backbone)) vit->has_learned_positions = true;
  shape.projector = shape.predictor = moby_head(options.hidden, options.out);
  shape.is_symmetric = true;
  shape.momentum = options.momentum;
  shape.last_momentum = 1.0;
  shape.has_zero_last_gamma = options.zero_last_gamma;
  const bool is_bf16 = recipe.run.precision == "bf16";
  auto objective = std::make_unique<MobyObjective>(
      shape, options.queue, options.temperature, PixelNormalisation(data.mean, data.std),
      at::TensorOptions(is_bf16 ? at::kBFloat16 : at::kFloat));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
