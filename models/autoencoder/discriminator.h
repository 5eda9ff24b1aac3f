#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/torch.h"
#include "core/types.h"
#include "models/layers/conv.h"

namespace kiln {

/// Batch norm over the micro-batch it is given, never over running averages: the discriminator is
/// only ever used in training.
struct BatchNorm2d : torch::nn::Module {
  BatchNorm2d(std::int64_t channels, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;

  at::Tensor weight, bias;
};

/// Judges patches of an image as real or made (Isola et al., arXiv 1611.07004): 4 x 4 convolutions
/// with leaky ReLU 0.2; `layers` of them halve the image, widths 64, 128, 256, 512, 512, ...
struct PatchDiscriminator : torch::nn::Module {
  PatchDiscriminator(std::int64_t image_channels, std::int64_t channels, std::int64_t layers,
                     const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& image) const;  // [B, C, H, W] -> logits [B, 1, h, w]

  struct Stage {
    std::shared_ptr<Conv2d> conv;
    std::shared_ptr<BatchNorm2d> norm;  // null for the first and the last
  };
  std::vector<Stage> stages;
};

/// Convolutions N(0, 0.02) with biases 0, norms N(1, 0.02) and 0, from Philox(seed, kInit, ...)
/// counting on from `first_index`.
void initialise_discriminator(PatchDiscriminator& network, std::uint64_t seed,
                              std::size_t first_index);

/// 1/2 (mean relu(1 - real) + mean relu(1 + made)).
at::Tensor hinge_loss(const at::Tensor& real, const at::Tensor& made);

/// Weight of the adversarial loss in units of the other one, by their gradients with respect to the
/// last layer: clamp(|grad nll| / (|grad g| + 1e-4), 0, 1e4) (arXiv 2012.09841, eq. 7), without
/// gradient of its own.
at::Tensor adaptive_weight(const at::Tensor& nll, const at::Tensor& adversarial,
                           const at::Tensor& last_layer);

}  // namespace kiln
