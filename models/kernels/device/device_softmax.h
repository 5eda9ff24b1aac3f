#pragma once

#include <cstdint>

#include "models/kernels/elements.h"

// host_softmax.h over all rows, on a GPU. T = float or Bf16; streams as void*.

namespace kiln {

/// For each row of logits [rows, cols]: lse, the loss lse - x[label], and the index of the highest.
template <typename T>
void device_cross_entropy(const T* logits, const std::int64_t* labels, std::int64_t rows,
                          std::int64_t cols, float* lse, float* losses, std::int64_t* best,
                          void* stream);
/// d = factor * (softmax(x) - [i == label]); the factor is read on the device.
template <typename T>
void device_cross_entropy_backward(const T* logits, const std::int64_t* labels, const float* lse,
                                   const float* factor, T* d, std::int64_t rows, std::int64_t cols,
                                   void* stream);

}  // namespace kiln
