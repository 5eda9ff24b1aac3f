#include <chrono>
#include <functional>

#include "core/torch.h"
#include "launch/bench/bench.h"
#include "launch/run/device.h"
#include "models/capabilities.h"
#include "models/layers/parameters.h"
#include "models/operators/fused.h"

namespace kiln {
namespace {

/// B samples of L tokens of width D, as in the model's first blocks.
struct Sizes {
  std::int64_t B, L, D, heads;
};

Sizes sizes_of(const TrainingSetup& setup) {
  const std::int64_t B = setup.recipe.train.micro_batch;
  if (auto* workload = dynamic_cast<Workload*>(setup.objective.get())) {
    for (const auto& op : workload->work(setup.data.source->allocate(B)).operators) {
      if (!op.name.ends_with(".qkv")) continue;
      return {B, op.m / B, op.k, std::max<std::int64_t>(1, op.k / 64)};
    }
  }
  return {B, 128, 768, 12};
}

class Race {
 public:
  Race(at::Device device, at::ScalarType type, std::int64_t repeats)
      : options_(at::TensorOptions(device).dtype(type)), repeats_(repeats) {}

  at::Tensor values(at::IntArrayRef shape) const {
    return at::linspace(-2.0, 2.0, c10::multiply_integers(shape), options_.dtype(at::kFloat))
        .view(shape)
        .to(options_.dtype())
        .requires_grad_();
  }

  /// Runs forward and backward of both versions in turn, so that a slow moment of the machine
  /// affects both.
  void add(const char* name, const std::function<at::Tensor()>& fused,
           const std::function<at::Tensor()>& plain) {
    std::vector<double> fused_s, plain_s;
    for (std::int64_t i = 0; i <= repeats_; ++i) {
      const double a = seconds(fused), b = seconds(plain);
      if (i == 0) continue;
      fused_s.push_back(a);
      plain_s.push_back(b);
    }
    const Spread ours = spread_of(fused_s), theirs = spread_of(plain_s);
    figures_[name] = {{"fused_s", to_json(ours)},
                      {"plain_s", to_json(theirs)},
                      {"speed_up", theirs.median / ours.median}};
  }
  const Json& figures() const { return figures_; }

 private:
  double seconds(const std::function<at::Tensor()>& call) const {
    const auto start = std::chrono::steady_clock::now();
    const at::Tensor y = call();
    y.backward(at::ones_like(y));
    if (options_.device().is_cuda()) torch::cuda::synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  at::TensorOptions options_;
  std::int64_t repeats_;
  Json figures_;
};

}  // namespace

/// The operators of models/operators/fused.h, forward and backward, beside their plain versions.
Json bench_kernels(World& world, TrainingSetup& setup, std::int64_t repeats) {
  const Sizes sizes = sizes_of(setup);
  const std::int64_t B = sizes.B, L = sizes.L, D = sizes.D, heads = sizes.heads;
  const at::Device device = choose_device(setup.recipe.run.device, world);
  const auto type = weights_type(setup.recipe);
  Race race(device, type, repeats);
  DropoutStream none;
  const at::Tensor x = race.values({B, L, D}), y = race.values({B, L, D});
  const at::Tensor gamma = race.values({D}), beta = race.values({D}), bias = race.values({D});

  const ResidualNormInput norm{.x = x, .y = y, .bias = bias, .gamma = gamma, .beta = beta};
  race.add(
      "residual_norm", [&] { return fused_residual_norm(norm, none).n; },
      [&] { return plain_residual_norm(norm, none).n; });
  const MlpWeights mlp{race.values({4 * D, D}), race.values({4 * D}), race.values({D, 4 * D})};
  race.add(
      "mlp", [&] { return fused_mlp(x, mlp, false); }, [&] { return plain_mlp(x, mlp, false); });
  const at::Tensor qkv = race.values({B, L, 3 * D});
  race.add(
      "self_attention", [&] { return fused_self_attend(qkv, heads, {}, 0.0, none); },
      [&] { return plain_self_attend(qkv, heads, {}, 0.0, none); });
  const GroupNormInput maps{.x = race.values({B, 64, 32, 32}),
                            .gamma = race.values({64}),
                            .beta = race.values({64}),
                            .shift = {},
                            .groups = 32,
                            .has_silu = true};
  race.add(
      "group_norm_silu", [&] { return fused_group_norm(maps); },
      [&] { return plain_group_norm(maps); });
  const at::Tensor scores = race.values({19 * B, 30'522});
  const at::Tensor labels =
      at::arange(19 * B, at::TensorOptions(device).dtype(at::kLong)).mul_(37).remainder_(30'522);
  race.add(
      "cross_entropy", [&] { return fused_cross_entropy(scores, labels).sum; },
      [&] { return plain_cross_entropy(scores, labels).sum; });

  Json figures = {{"samples", B}, {"tokens", L}, {"width", D}, {"device", device.str()}};
  figures["precision"] = setup.recipe.run.precision;
  figures["threads"] = at::get_num_threads();
  figures["kernels"] = race.figures();
  return figures;
}

}  // namespace kiln
