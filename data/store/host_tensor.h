#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace kiln {

enum class HostType : std::uint8_t { kUInt8, kInt64, kFloat16, kFloat32 };

/// An uninitialised contiguous tensor in host memory.
at::Tensor host_tensor(HostType type, const std::vector<std::int64_t>& shape);

}  // namespace kiln
