#include "launch/evaluate/evaluate_likelihood.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"
#include "data/loader.h"
#include "launch/evaluate/features.h"
#include "launch/evaluate/latent_statistics.h"
#include "launch/run/conditions.h"
#include "models/diffusion/likelihood.h"

// B samples of D values.

namespace kiln {
namespace {

constexpr std::int64_t kMostForCovariance = 20'000;
constexpr std::int64_t kMostValues = 4096;
constexpr std::int64_t kBoundTerms = 100;

/// Mean squared error of the best linear predictor of the target of every noise level in a
/// prepared batch, where the data's covariance has these eigenvalues: per direction of variance v,
/// (target_data noise - target_noise signal)^2 v / (signal^2 v + noise^2).  [B]
at::Tensor linear_errors(const LatentDiffusion& model, const Batch& batch,
                         const at::Tensor& variances) {
  const at::Tensor& levels = batch.at("level");
  at::Tensor errors = at::zeros({levels.size(0)}, at::kDouble);
  for (std::int64_t b = 0; b < levels.size(0); ++b) {
    const NoiseLevel level = model.level_of(batch, b);
    const Target target = model.formulation().target(level);
    const double slope = target.data * level.noise - target.noise * level.signal;
    errors[b] = (variances * (slope * slope) /
                 (variances * (level.signal * level.signal) + level.noise * level.noise))
                    .mean();
  }
  return errors;
}

class DiffusionLikelihood {
 public:
  explicit DiffusionLikelihood(const Evaluated& evaluated)
      : evaluated_(evaluated),
        model_(dynamic_cast<LatentDiffusion*>(&evaluated.objective)),
        seed_(static_cast<std::uint64_t>(evaluated.recipe.run.seed)) {
    if (model_ == nullptr) throw usage_error("a likelihood is measured of diffusion models");
    check_conditions(*model_, *evaluated.data.source, evaluated.recipe.eval.path);
    const std::int64_t all = evaluated.data.source->num_samples();
    const std::int64_t most = evaluated.recipe.eval.max_samples;
    count_ = most > 0 ? std::min(most, all) : all;
    const auto shape = model_->sample_shape();
    has_linear_ = shape[0] * shape[1] * shape[2] <= kMostValues && all > 1;
    if (!has_linear_) return;
    const DatasetReader reader(evaluated.data.source, evaluated.num_threads);
    const at::Tensor covariance =
        latent_statistics(*model_, reader, std::min(all, kMostForCovariance), seed_).covariance();
    variances_ = at::linalg_eigvalsh(covariance).clamp_min(0.0);
  }

  Figures run() {
    const std::string& kind = model_->formulation().options().formulation;
    has_bits_ = kind == "flow" || kind == "ddpm";
    at::Tensor sums = at::zeros({3}, at::kDouble);
    for_each_share(*evaluated_.data.source, count_, evaluated_.communicator, at::kCPU,
                   evaluated_.num_threads,
                   [&](Batch& batch, Range range) { add(batch, range, sums); });
    evaluated_.communicator.all_reduce(sums).wait();
    const double n = static_cast<double>(count_);
    Figures figures = {{"mse", sums[0].item<double>() / n}, {"samples", n}};
    if (has_linear_) figures["mse_linear"] = sums[1].item<double>() / n;
    if (has_bits_) figures["bits_per_value"] = sums[2].item<double>() / n;
    return figures;
  }

 private:
  void add(Batch& batch, Range range, at::Tensor& sums) {
    batch.first_position = range.begin;
    const std::string& by = model_->options().conditioning;
    const std::string field = by == "class" ? "label" : by == "text" ? "context" : "";
    const at::Tensor condition = field.empty() ? at::Tensor() : batch.at(field);
    model_->prepare(batch, seed_);
    if (!field.empty()) batch.tensors[field] = condition;  // prepare() drops some
    const auto first = [&](const at::Tensor& x) {
      return x.narrow(0, 0, range.size()).to(at::kDouble).sum().cpu();
    };
    if (has_linear_) sums[1] += first(linear_errors(*model_, batch, variances_));
    for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(evaluated_.device);
    {
      const at::NoGradGuard no_grad;
      sums[0] += first(model_->errors(batch));
    }
    if (has_bits_) sums[2] += first(bits_of(batch));
  }

  at::Tensor bits_of(const Batch& batch) {
    if (model_->formulation().chain() != nullptr) {
      return variational_bits_per_value(*model_, batch, kBoundTerms, seed_);
    }
    return flow_bits_per_value(*model_, batch, {.seed = seed_, .first = batch.first_position});
  }

  const Evaluated& evaluated_;
  LatentDiffusion* model_;
  std::uint64_t seed_;
  std::int64_t count_ = 0;
  bool has_linear_ = false;
  bool has_bits_ = false;
  at::Tensor variances_;  // [D] eigenvalues of the data's covariance
};

}  // namespace

Figures evaluate_likelihood(const Evaluated& evaluated) { return DiffusionLikelihood(evaluated).run(); }

}  // namespace kiln
