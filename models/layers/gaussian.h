#pragma once

#include <ATen/core/Tensor.h>

// B samples, E latent channels, h x w latent pixels.

namespace kiln {

/// A normal distribution with diagonal covariance per latent value.
struct DiagonalGaussian {
  at::Tensor mean;          // [B, E, h, w]
  at::Tensor log_variance;  // clamped to [-30, 20]

  /// From what an encoder gives: mean and log-variance stacked along dimension 1. At least fp32.
  static DiagonalGaussian from_moments(const at::Tensor& moments);
  /// mean + exp(log_variance / 2) noise.
  at::Tensor sample(const at::Tensor& noise) const;
  /// KL to N(0, I), summed over a sample's values: 1/2 sum(mean^2 + variance - 1 - log_variance).
  /// [B]
  at::Tensor kl() const;
};

}  // namespace kiln
