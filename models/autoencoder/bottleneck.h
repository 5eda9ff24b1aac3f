#pragma once

#include <ATen/core/Tensor.h>

#include "models/layers/gaussian.h"

// B samples, E latent channels, h x w latent pixels, K codes.

namespace kiln {

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
