#pragma once

#include <cstdint>

#include "models/kernels/host_loops.h"

// The passes of host_loops.h as CUDA kernels: the same structs with pointers to the device's
// memory, streams as void*. T = float or Bf16; arithmetic in fp32.

namespace kiln {

/// False in a build without CUDA, whose functions below must not be called.
bool has_device_loops();

template <typename T>
void device_bias_gelu(T* u, const T* bias, T* a, std::int64_t rows, std::int64_t cols, bool is_tanh,
                      void* stream);
template <typename T>
void device_gelu_backward(const T* u, T* d, T* a, std::int64_t count, bool is_tanh, void* stream);

/// The factors of a site's elements 0 to count - 1.
template <typename T>
void device_keep_factors(const DropoutSite& site, T* out, std::int64_t count, void* stream);

}  // namespace kiln
