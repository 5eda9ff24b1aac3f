#pragma once

#include <cstdint>
#include <optional>

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

/// `a.keep` is not read, `keep` takes its place. At most kMaxDeviceColumns columns.
constexpr std::int64_t kMaxDeviceColumns = 8192;
template <typename T>
void device_residual_norm(const ResidualNorm<T>& a, const std::optional<DropoutSite>& keep,
                          std::int64_t rows, void* stream);
/// sums: [RowChunks::count(), cols] each, written whole; null: not wanted.
template <typename T>
void device_residual_norm_backward(const ResidualNorm<T>& a, const std::optional<DropoutSite>& keep,
                                   const T* dn, const T* dh, T* dx, T* dy,
                                   const ResidualNormSums& sums, std::int64_t groups, void* stream);

}  // namespace kiln
