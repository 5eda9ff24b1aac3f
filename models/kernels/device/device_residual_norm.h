#pragma once

#include <cstdint>
#include <optional>

#include "models/kernels/host_loops.h"

// The residual norm of host_loops.h as CUDA kernels, under the rules of device_loops.h.

namespace kiln {

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
