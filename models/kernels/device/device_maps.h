#pragma once

#include <cstdint>

#include "models/kernels/conv_weights.h"

// What goes on around convolutions on a GPU: the layouts of maps and weights, and biases. T = float
// or Bf16; streams as void*.

namespace kiln {

/// Rows of `cols` values from a matrix with rows of from_stride values to one of to_stride.
template <typename T>
void device_copy_columns(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride,
                         std::int64_t rows, std::int64_t cols, void* stream);

/// Weights from [out, in, taps] to [out, taps, in].
template <typename T>
void device_weights_to_channels_last(const ConvWeightShape& shape, const T* from, T* to,
                                     void* stream);
/// The way back, for gradients: to = from, or to += from where `is_added`.
template <typename T>
void device_weights_from_channels_last(const ConvWeightShape& shape, const T* from, T* to,
                                       bool is_added, void* stream);

/// sum = a + b + bias over rows of `channels`.
template <typename T>
void device_biased_sum(const T* a, const T* b, const T* bias, T* sum, std::int64_t rows,
                       std::int64_t channels, void* stream);

/// Sums of a matrix's columns over chunks of rows, [device_column_chunks(), cols].
std::int64_t device_column_chunks(std::int64_t rows, std::int64_t cols);
template <typename T>
void device_column_sums(const T* x, float* sums, std::int64_t rows, std::int64_t cols,
                        void* stream);

}  // namespace kiln
