#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"
#include "models/diffusion/latent_statistics.h"
#include "models/diffusion/likelihood.h"
#include "models/diffusion/objective.h"

// A LatentDiffusion on held-out samples: what `kiln eval likelihood` asks.
//
// B samples of D values.

namespace kiln {
namespace {

constexpr std::int64_t kMostForCovariance = 20'000;
constexpr std::int64_t kBoundTerms = 100;

}  // namespace

void check_size_of_covariance(const LatentDiffusion& model) {
  if (model.num_values() <= kMostCovarianceValues) return;
  throw usage_error("--controls: a covariance of {} values is too large (at most {})",
                    model.num_values(), kMostCovarianceValues);
}

FeatureStatistics latent_statistics(const LatentDiffusion& model, const SampleReader& data,
                                    std::int64_t count, std::uint64_t seed) {
  constexpr std::int64_t kAtATime = 1024;
  const at::NoGradGuard no_grad;
  FeatureStatistics statistics(model.num_values());
  for (std::int64_t begin = 0; begin < count; begin += kAtATime) {
    Batch batch = data.read(begin, std::min(begin + kAtATime, count));
    model.prepare(batch, seed);
    statistics.add(model.clean(batch).flatten(1));
  }
  return statistics;
}

void LatentDiffusion::begin_likelihood(const MeasurementSetup& setup) {
  variances_.reset();
  const std::int64_t all = setup.data.num_samples;
  if (num_values() > kMostCovarianceValues || all < 2) return;
  const at::Tensor covariance =
      latent_statistics(*this, setup.data, std::min(all, kMostForCovariance), setup.seed)
          .covariance();
  variances_ = at::linalg_eigvalsh(covariance).clamp_min(0.0);
}

// Per direction of variance v of the data:
// (target_data noise - target_noise signal)^2 v / (signal^2 v + noise^2).
at::Tensor LatentDiffusion::linear_errors(const Batch& batch) const {
  const std::int64_t B = batch.at("level").size(0);
  at::Tensor errors = at::zeros({B}, at::kDouble);
  for (std::int64_t b = 0; b < B; ++b) {
    const NoiseLevel level = level_of(batch, b);
    const Target target = formulation_->target(level);
    const double slope = target.data * level.noise - target.noise * level.signal;
    errors[b] = (variances_ * (slope * slope) /
                 (variances_ * (level.signal * level.signal) + level.noise * level.noise))
                    .mean();
  }
  return errors;
}

LatentDiffusion::Bits LatentDiffusion::bits(Batch batch, std::uint64_t seed) {
  const std::string& by = options_.conditioning;
  const std::string field = by == "class" ? "label" : by == "text" ? "context" : "";
  const at::Tensor condition = field.empty() ? at::Tensor() : batch.at(field);
  prepare(batch, seed);
  if (!field.empty()) batch.tensors[field] = condition;  // prepare() drops some
  Bits result;
  if (variances_.defined()) result.others["mse_linear"] = linear_errors(batch);
  for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(device());
  {
    const at::NoGradGuard no_grad;
    result.others["mse"] = errors(batch).to(at::kCPU, at::kDouble);
  }
  const std::string& kind = formulation_->options().formulation;
  if (kind != "flow" && kind != "ddpm") return result;
  const at::Tensor per_value =
      formulation_->chain() != nullptr
          ? variational_bits_per_value(*this, batch, kBoundTerms, seed)
          : flow_bits_per_value(*this, batch, {.seed = seed, .first = batch.first_position});
  result.total = per_value.to(at::kCPU, at::kDouble) * static_cast<double>(num_values());
  return result;
}

}  // namespace kiln
