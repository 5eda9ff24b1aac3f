#include "models/diffusion/variance_bound.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <vector>

namespace kiln {
namespace {

at::Tensor approximate_normal_cdf(const at::Tensor& x) {
  const double scale = std::sqrt(2.0 / std::numbers::pi);
  return (at::tanh((x + x.pow(3) * 0.044715) * scale) + 1.0) * 0.5;
}

}  // namespace

at::Tensor discretised_normal_log_prob(const at::Tensor& x, const at::Tensor& mean,
                                       const at::Tensor& log_std) {
  constexpr double kLeast = 1e-12;
  constexpr double kEdge = 0.999;  // beyond it a value belongs to an outer bin
  const at::Tensor centred = x - mean;
  const at::Tensor inverse_std = (-log_std).exp();
  const at::Tensor upper = approximate_normal_cdf(inverse_std * (centred + 1.0 / 255.0));
  const at::Tensor lower = approximate_normal_cdf(inverse_std * (centred - 1.0 / 255.0));
  const at::Tensor inner = (upper - lower).clamp_min(kLeast).log();
  const at::Tensor first = upper.clamp_min(kLeast).log();
  const at::Tensor last = (1.0 - lower).clamp_min(kLeast).log();
  return at::where(x < -kEdge, first, at::where(x > kEdge, last, inner));
}

VarianceBound::VarianceBound(const BetaSchedule& schedule) {
  std::vector<double> rows;
  for (std::int64_t t = 0; t < schedule.size(); ++t) {
    const Posterior q = posterior(schedule.level(t), schedule.level(t - 1));
    rows.insert(rows.end(), {q.from_x0, q.from_x, posterior_log_variance_clipped(schedule, t),
                             std::log(schedule.betas[static_cast<std::size_t>(t)])});
  }
  table_ = at::tensor(rows, at::kDouble).view({schedule.size(), 4});
}

at::Tensor VarianceBound::column(std::int64_t index, const at::Tensor& timestep,
                                 const at::Tensor& like) const {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(like.dim()), 1);
  shape[0] = timestep.size(0);
  // The table goes where the samples are, once: looking it up on the host would wait for a GPU.
  if (table_.device() != like.device()) table_ = table_.to(like.device());
  const at::Tensor rows = timestep.to(like.device());
  return table_.select(1, index).index_select(0, rows).to(like.options()).view(shape);
}

at::Tensor VarianceBound::log_variance(const at::Tensor& v, const at::Tensor& timestep) const {
  const at::Tensor fraction = (v + 1.0) * 0.5;
  return fraction * column(3, timestep, v) + (1.0 - fraction) * column(2, timestep, v);
}

at::Tensor VarianceBound::operator()(const Input& in) const {
  const at::Tensor from_x0 = column(0, in.timestep, in.x0);
  const at::Tensor from_x = column(1, in.timestep, in.x0);
  const at::Tensor mean_true = from_x0 * in.x0 + from_x * in.x;
  const at::Tensor mean_model = from_x0 * in.x0_model + from_x * in.x;
  const at::Tensor log_true = column(2, in.timestep, in.x0);
  const at::Tensor log_model = log_variance(in.v, in.timestep);

  const at::Tensor kl = (-1.0 + log_model - log_true + (log_true - log_model).exp() +
                         (mean_true - mean_model).pow(2) * (-log_model).exp()) * 0.5;
  const at::Tensor nll = -discretised_normal_log_prob(in.x0, mean_model, log_model * 0.5);
  const at::Tensor is_first = in.timestep.eq(0).to(in.x0.device());
  return at::where(is_first, nll.flatten(1).mean(1), kl.flatten(1).mean(1)) / std::numbers::ln2;
}

}  // namespace kiln
