#include "models/diffusion/likelihood.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/torch.h"
#include "models/diffusion/generate.h"

namespace kiln {
namespace {

// Draw d of sample n has a stream of its own, at this position: samples number below 2^40.
std::int64_t position_of(std::int64_t sample, std::int64_t draw) { return sample + (draw << 40); }

/// Directions of +-1, one row of `count` per probe: [probes, B, ...].
at::Tensor probe_directions(const at::Tensor& x, const FlowLikelihoodOptions& options) {
  const std::int64_t B = x.size(0), values = x.numel() / B;
  if (options.probes == 0) {  // unit vectors
    std::vector<std::int64_t> shape = x.sizes().vec();
    shape.insert(shape.begin(), values);
    return at::eye(values, x.options())
        .view({values, 1, values})
        .expand({values, B, values})
        .reshape(shape);
  }
  const at::Tensor uniform = at::empty({B, options.probes, values}, at::kFloat);
  for (std::int64_t b = 0; b < B; ++b) {
    fill_uniform(Philox(options.seed, Purpose::kEvaluation, options.first + b),
                 uniform.data_ptr<float>() + b * options.probes * values, options.probes * values);
  }
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.insert(shape.begin(), options.probes);
  const at::Tensor signs = at::where(uniform < 0.5, -1.0, 1.0).transpose(0, 1);
  return signs.reshape(shape).to(x.options());
}

struct Slope {
  at::Tensor velocity;    // [B, ...]
  at::Tensor divergence;  // [B]
};

Slope slope_at(const Velocity& velocity, const at::Tensor& x, double t, const at::Tensor& probes,
               bool is_exact) {
  const torch::AutoGradMode with_grad(true);
  const at::Tensor leaf = x.detach().requires_grad_();
  const at::Tensor v = velocity(leaf, t);
  at::Tensor divergence = at::zeros({x.size(0)}, x.options());
  for (const at::Tensor& e : probes.unbind(0)) {
    const at::Tensor product = torch::autograd::grad({v}, {leaf}, {e}, /*retain_graph=*/true)[0];
    divergence += (product * e).flatten(1).sum(1);
  }
  if (!is_exact) divergence /= static_cast<double>(probes.size(0));
  return {v.detach(), divergence};
}

at::Tensor standard_normal_log_density(const at::Tensor& x) {
  const double values = static_cast<double>(x.numel() / x.size(0));
  return x.square().flatten(1).sum(1) * -0.5 - 0.5 * values * std::log(2.0 * std::numbers::pi);
}

Conditioning condition_of(const LatentDiffusion& model, const Batch& batch) {
  Conditioning conditioning;
  if (model.options().conditioning == "class") conditioning.labels = batch.at("label");
  if (model.options().conditioning == "text") conditioning.context = batch.at("context");
  return conditioning;
}

at::Tensor noise_for(const at::Tensor& like, const Batch& batch, std::uint64_t seed,
                     std::int64_t draw) {
  const at::Tensor noise = at::empty(like.sizes(), at::kFloat);
  const std::int64_t values = like.numel() / like.size(0);
  for (std::int64_t b = 0; b < like.size(0); ++b) {
    fill_normal(Philox(seed, Purpose::kEvaluation, position_of(batch.first_position + b, draw)),
                noise.data_ptr<float>() + b * values, values);
  }
  return noise.to(like.options());
}

}  // namespace

at::Tensor flow_log_likelihood(const Velocity& velocity, const at::Tensor& start,
                               const FlowLikelihoodOptions& options) {
  const at::Tensor probes = probe_directions(start, options);
  const bool is_exact = options.probes == 0;
  const double dt = 1.0 / static_cast<double>(options.steps);
  at::Tensor x = start;
  at::Tensor change = at::zeros({start.size(0)}, start.options());  // integral of div v
  Slope here = slope_at(velocity, x, 0.0, probes, is_exact);
  for (std::int64_t i = 0; i < options.steps; ++i) {
    const double next_t = static_cast<double>(i + 1) * dt;
    const Slope guess = slope_at(velocity, x + here.velocity * dt, next_t, probes, is_exact);
    x = x + (here.velocity + guess.velocity) * (0.5 * dt);
    change = change + (here.divergence + guess.divergence) * (0.5 * dt);
    if (i + 1 < options.steps) here = slope_at(velocity, x, next_t, probes, is_exact);
  }
  return standard_normal_log_density(x) + change;
}

at::Tensor flow_bits_per_value(LatentDiffusion& model, const Batch& batch,
                               const FlowLikelihoodOptions& options) {
  if (model.formulation().options().formulation != "flow") {
    throw usage_error("a likelihood by integration needs model.formulation = \"flow\", not \"{}\"",
                      model.formulation().options().formulation);
  }
  const Conditioning conditioning = condition_of(model, batch);
  const Velocity velocity = [&](const at::Tensor& x, double t) {
    DropoutStream none;
    const at::Tensor times =
        at::full({x.size(0)}, model.formulation().network_time(t), x.options().dtype(at::kDouble));
    return model.evaluate(x, at::ones({1, 1, 1, 1}, x.options()), times, conditioning, none).f;
  };
  const at::Tensor x = model.clean(batch);
  const double values = static_cast<double>(x.numel() / x.size(0));
  return flow_log_likelihood(velocity, x, options) / (-values * std::numbers::ln2);
}

at::Tensor variational_bits_per_value(LatentDiffusion& model, const Batch& batch,
                                      std::int64_t num_terms, std::uint64_t seed) {
  const BetaSchedule* chain = model.formulation().chain();
  if (chain == nullptr) {
    throw usage_error("the variational bound needs model.formulation = \"ddpm\", not \"{}\"",
                      model.formulation().options().formulation);
  }
  const at::NoGradGuard no_grad;
  const VarianceBound bound(*chain);
  const Conditioning conditioning = condition_of(model, batch);
  const at::Tensor x0 = model.clean(batch);
  const auto times =
      spaced_timesteps("linspace", chain->size(), std::min(num_terms, chain->size()), 0);
  // Step 0, which differs in kind, stands for itself; each other one for its share of the rest.
  const double each = static_cast<double>(chain->size() - 1) /
                      static_cast<double>(std::max<std::size_t>(times.size() - 1, 1));
  at::Tensor terms = at::zeros({x0.size(0)}, x0.options());
  for (const std::int64_t t : times) {
    const NoiseLevel level = chain->level(t);
    const at::Tensor x = x0 * level.signal + noise_for(x0, batch, seed, t) * level.noise;
    const Denoise denoise = denoiser(model, GenerateOptions{}, conditioning);
    const Estimate estimate = denoise(x, {static_cast<double>(t), level});
    const at::Tensor v = estimate.variance_fraction ? *estimate.variance_fraction * 2.0 - 1.0
                                                    : at::ones_like(x);  // 1: beta
    const at::Tensor bits = bound({x0, x, estimate.x0, v, at::full({x.size(0)}, t, at::kLong)});
    terms += bits * (t == 0 ? 1.0 : each);
  }
  // KL of q(x_T | x0) to N(0, I).
  const NoiseLevel last = chain->level(chain->size() - 1);
  const double variance = last.noise * last.noise;
  const at::Tensor prior =
      ((x0 * last.signal).square() + (variance - 1.0 - std::log(variance))).flatten(1).mean(1) *
      0.5;
  return terms + prior / std::numbers::ln2;
}

}  // namespace kiln
