#include "models/moco/moco.h"

#include "models/contrast/collapse.h"
#include "models/contrast/losses.h"

namespace kiln {
namespace {

constexpr std::size_t kQueueStream = 1 << 20;  // above the number of any parameter

at::Tensor hits(const at::Tensor& q, const at::Tensor& k) {
  const at::NoGradGuard no_grad;
  const at::Tensor right = at::arange(q.size(0), at::TensorOptions(at::kLong).device(q.device()));
  return q.matmul(k.t()).argmax(1).eq(right).sum();
}

}  // namespace

MocoQueueObjective::MocoQueueObjective(const MomentumShape& choice, std::int64_t queue,
                                       double temperature, PixelNormalisation pixels,
                                       const at::TensorOptions& options)
    : MomentumObjective(choice, std::move(pixels), options),
      temperature_(temperature),
      queue_(module(), "queue", queue, width(), options) {}

void MocoQueueObjective::initialise(std::uint64_t seed) {
  MomentumObjective::initialise(seed);
  queue_.initialise(seed, kQueueStream);
}

Loss MocoQueueObjective::couple(const Rows& all, const StepContext&, std::size_t) {
  const at::Tensor& q = all.at("q.0");
  const QueueContrast contrast = info_nce_with_queue(q, all.at("k.1"), queue_.keys(), temperature_);
  Loss loss{contrast.losses.mean(), {}};
  const at::NoGradGuard no_grad;
  const auto n = static_cast<double>(q.size(0));
  const at::Tensor right = contrast.positives > std::get<0>(contrast.negatives.max(1));
  loss.metrics["accuracy"] = {right.sum(), n};
  loss.metrics["positive_similarity"] = {contrast.positives.sum(), n};
  loss.metrics["negative_similarity"] = {contrast.negatives.mean(), 1.0};
  add_collapse_metrics(q, loss.metrics);
  return loss;
}

void MocoQueueObjective::after_step(const StepContext& context, const Sums& sums,
                                    const Rows& rows) {
  MomentumObjective::after_step(context, sums, rows);
  queue_.push(rows.at("k.1"));
}

MocoBatchObjective::MocoBatchObjective(const MomentumShape& choice, double temperature,
                                       PixelNormalisation pixels, const at::TensorOptions& options)
    : MomentumObjective(choice, std::move(pixels), options), temperature_(temperature) {}

Loss MocoBatchObjective::couple(const Rows& all, const StepContext&, std::size_t) {
  const at::Tensor &q0 = all.at("q.0"), &q1 = all.at("q.1");
  const at::Tensor &k0 = all.at("k.0"), &k1 = all.at("k.1");
  const at::Tensor both =
      info_nce_in_batch(q0, k1, temperature_) + info_nce_in_batch(q1, k0, temperature_);
  Loss loss{2.0 * temperature_ * both.mean(), {}};
  loss.metrics["accuracy"] = {hits(q0, k1), static_cast<double>(q0.size(0))};
  add_similarity_metrics(q0, k1, loss.metrics);
  add_collapse_metrics(q0, loss.metrics);
  return loss;
}

}  // namespace kiln
