#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "models/diffusion/objective.h"

// B samples of D values each.

namespace kiln {

/// v(x, t) of a flow whose data lies at t = 0 and noise at t = 1, differentiable in x.
using Velocity = std::function<at::Tensor(const at::Tensor& x, double t)>;

struct FlowLikelihoodOptions {
  std::int64_t steps = 50;  // of Heun's method
  std::int64_t probes = 1;  // random directions for the divergence; 0: exact, one per value
  std::uint64_t seed = 0;
  std::int64_t first = 0;  // number of the first sample: its probes come from (seed, number)
};

/// ln p(x) of samples [B, ...], nats per sample: integrates dx/dt = v together with
/// d ln p / dt = -div v to the standard normal at t = 1 (Chen et al., arXiv 1806.07366). The
/// divergence is Hutchinson's estimate e^T (dv/dx) e with e of +-1, the same at all times.
at::Tensor flow_log_likelihood(const Velocity& velocity, const at::Tensor& x,
                               const FlowLikelihoodOptions& options);

/// Minus log-likelihood in bits per value of a prepared batch of a flow-matching model. Latents are
/// in units of the model's own scale: bits of density, not of 8-bit pixels.  [B]
at::Tensor flow_bits_per_value(LatentDiffusion& model, const Batch& batch,
                               const FlowLikelihoodOptions& options);

/// The variational bound of a ddpm model in bits per value, [B]: the terms of `num_terms` evenly
/// spaced steps of the chain stand for all, plus the prior's. The network's variance where it has
/// one, else beta's; at step 0 values count as 8-bit ones in [-1, 1]. Noise of step t comes from
/// Philox(seed, kEvaluation, number), draw t.
at::Tensor variational_bits_per_value(LatentDiffusion& model, const Batch& batch,
                                      std::int64_t num_terms, std::uint64_t seed);

}  // namespace kiln
