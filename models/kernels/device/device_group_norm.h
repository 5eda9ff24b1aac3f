#pragma once

#include <cstdint>

#include "models/kernels/host_group_norm.h"

// host_group_norm.h over all samples, on a GPU: sums are taken over chunks of pixels and then over
// chunks in a fixed order, so they depend on the shape alone (and on whether memory is aligned for
// loads of several channels). T = float or Bf16; streams as
// void*.

namespace kiln {

/// Floats of scratch memory that the two functions below write.
std::int64_t device_group_norm_scratch(std::int64_t samples, std::int64_t pixels,
                                       std::int64_t channels, std::int64_t groups);
template <typename T>
void device_group_norm(const GroupNormMaps<T>& maps, std::int64_t samples, float* scratch,
                       void* stream);
/// Rows [samples, channels] of dgamma, dbeta and, where there is a shift, dshift.
template <typename T>
void device_group_norm_backward(const GroupNormMaps<T>& maps, const T* dy, T* dx, float* dgamma,
                                float* dbeta, float* dshift, std::int64_t samples, float* scratch,
                                void* stream);

}  // namespace kiln
