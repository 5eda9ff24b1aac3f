#pragma once

#include "launch/evaluate/evaluations.h"

namespace kiln {

/// How well a diffusion model knows held-out samples, the first eval.max_samples (0: all) of
/// eval.path, with their classes:
///   mse             of what the network predicts, at the noise levels and with the noise that
///                   these positions are trained with
///   mse_linear      the least that any linear predictor reaches at those levels, if samples were
///                   normal with the mean and covariance that the evaluated ones have
///   bits_per_value  flow: minus log-likelihood by integrating the flow with 50 steps of Heun's
///                   method; ddpm: the variational bound from 100 of its terms; edm, score: left
///                   out. Of latents it is a density in the model's own scale.
Figures evaluate_likelihood(const Evaluated& evaluated);

}  // namespace kiln
