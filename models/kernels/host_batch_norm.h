#pragma once

#include <cstdint>

#include "models/kernels/elements.h"

namespace kiln {

// Batch norm over channels-last maps as rows [N, C], N samples times pixels, in chunks of rows: sums
// within a chunk in fp32, between chunks in double and in their order, so that they depend on the
// shape alone. T = float or Bf16, arithmetic in fp32.

/// Rows of a chunk: some that the second level of the cache holds.
std::int64_t batch_norm_chunk_rows(std::int64_t channels);

/// Of rows [begin, end): the mean of each channel, and the sum of squares about it.
template <typename T>
void batch_norm_moments(const T* x, std::int64_t channels, std::int64_t begin, std::int64_t end,
                        float* mean, float* squares);

/// y = act((x - mean) * scale + shift + added), per channel; `added` null: left out.
template <typename T>
struct BatchNormRows {
  std::int64_t channels = 0;
  const T* x = nullptr;
  const T* added = nullptr;
  const float* mean = nullptr;   // [C]
  const float* scale = nullptr;  // gamma * rstd
  const float* shift = nullptr;  // beta
  bool has_relu = false;
};
template <typename T>
void batch_norm_rows(const BatchNormRows<T>& rows, T* y, std::int64_t begin, std::int64_t end);

/// Of rows [begin, end): sums of g and of g * (x - mean), where g is dy, or 0 where y is not above
/// 0 if y is given. Writes g to `masked` where that is not null; then y is given.
template <typename T>
void batch_norm_gradient_sums(const BatchNormRows<T>& rows, const T* dy, const T* y, T* masked,
                              std::int64_t begin, std::int64_t end, float* sums, float* products);

/// dx = scale * g + slope * (x - mean) + offset, per channel.
struct BatchNormSlopes {
  const float* slope = nullptr;  // [C]
  const float* offset = nullptr;
};
template <typename T>
void batch_norm_gradient(const BatchNormRows<T>& rows, const BatchNormSlopes& slopes, const T* dy,
                         const T* y, T* dx, std::int64_t begin, std::int64_t end);

}  // namespace kiln
