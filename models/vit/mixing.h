#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/base/philox.h"

// B samples, H x W pixels, C channels.

namespace kiln {

struct MixingOptions {
  double mixup = 0.0;   // alpha of the Beta distribution; 0: off
  double cutmix = 0.0;  // the same; with both on each micro-batch takes one of them, evenly
};

/// How the samples of one micro-batch are mixed with those of the same micro-batch in reverse
/// order: as a whole (mixup, Zhang et al., arXiv:1710.09412) or inside a box (CutMix, Yun et al.,
/// arXiv:1905.04899).
struct Mixing {
  double share = 1.0;  // of the sample itself; 1: nothing is mixed
  bool has_box = false;
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;

  /// [B, H, W, C] floating-point
  at::Tensor images(const at::Tensor& x) const;
  /// Class probabilities [B, K]
  at::Tensor targets(const at::Tensor& y) const;
};

/// Drawn from one stream: a pure function of it.
Mixing draw_mixing(const MixingOptions& options, const Philox& stream, std::int64_t height,
                   std::int64_t width);

/// Beta(alpha, alpha) by Jöhnk's rejection from words `first`, `first` + 1, ... of the stream.
double draw_beta(double alpha, const Philox& stream, std::uint64_t first);

}  // namespace kiln
