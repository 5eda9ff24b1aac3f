#pragma once

#include <cstdint>

#include "models/kernels/elements.h"

namespace kiln {

/// Weights of a convolution: [out, in, taps] in parameters and checkpoints, [out, taps, in]
/// (channels-last) where it is carried out.
struct ConvWeightShape {
  static constexpr int kMostTaps = 16;
  std::int64_t out = 0, in = 0;
  int taps = 1;
};

// Of outputs [begin, end), on the host. T = float or Bf16.
template <typename T>
void weights_to_channels_last(const ConvWeightShape& shape, const T* from, T* to,
                              std::int64_t begin, std::int64_t end);
/// The inverse, for gradients: to = from, or to += from where `is_added`.
template <typename T>
void weights_from_channels_last(const ConvWeightShape& shape, const T* from, T* to, bool is_added,
                                std::int64_t begin, std::int64_t end);

}  // namespace kiln
