#pragma once

#include <ATen/core/Tensor.h>

// B samples, E latent channels, h x w latent pixels, K codes.

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

/// Each latent pixel replaced by its nearest code (van den Oord et al., arXiv 1711.00937).
struct Quantised {
  at::Tensor z_q;          // [B, E, h, w]; its gradient goes straight through to z
  at::Tensor indices;      // [B, h, w] int64
  at::Tensor code_loss;    // mean (sg[z] - z_q)^2: moves codes
  at::Tensor commit_loss;  // mean (z - sg[z_q])^2: moves the encoder
};
/// Distances are Euclidean, in at least fp32; of equally near codes the first is taken.
Quantised quantise(const at::Tensor& z, const at::Tensor& codes);

/// Loss of the quantiser. The paper weighs the commitment by beta. The published code of VQGAN and
/// diffusers weighs the codes instead (`is_legacy`); checkpoints of theirs were trained like that.
at::Tensor quantisation_loss(const Quantised& quantised, double beta, bool is_legacy);

}  // namespace kiln
