#pragma once

#include <ATen/core/Tensor.h>

#include "models/diffusion/schedule.h"

namespace kiln {

/// The terms of DDPM's variational bound for a model whose variance lies between the posterior's and
/// beta: ln variance = f ln beta + (1 - f) ln posterior, f = (v + 1) / 2
/// (Nichol and Dhariwal, arXiv 2102.09672, eq. 15).
///
/// Tables are float64; coefficients are cast to the type of x0.
class VarianceBound {
 public:
  explicit VarianceBound(const BetaSchedule& schedule);

  struct Input {
    at::Tensor x0;        // [B, ...]
    at::Tensor x;         // [B, ...] noised
    at::Tensor x0_model;  // [B, ...] the network's estimate; detach it to train the variance alone
    at::Tensor v;         // [B, ...] the network's second half
    at::Tensor timestep;  // [B] int64
  };
  /// ln variance of the model's step.  [B, ...]
  at::Tensor log_variance(const at::Tensor& v, const at::Tensor& timestep) const;
  /// Bits per dimension of each sample's term: KL(q(x' | x, x0) || model) for t > 0; at t = 0 minus
  /// ln of the probability that a discretised normal gives the 8-bit value.  [B]
  at::Tensor operator()(const Input& input) const;

 private:
  at::Tensor column(std::int64_t index, const at::Tensor& timestep, const at::Tensor& like) const;
  // [T, 4]: from_x0, from_x, ln posterior variance, ln beta. On the device last asked for.
  mutable at::Tensor table_;
};

/// ln P of 8-bit values in [-1, 1] under normals (mean, exp(log_std)): mass of the bin of half width
/// 1/255, the outer bins open. The normal distribution function in its tanh form, as published
/// models were trained with.
at::Tensor discretised_normal_log_prob(const at::Tensor& x, const at::Tensor& mean,
                                       const at::Tensor& log_std);

}  // namespace kiln
