#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace kiln {

/// sum[i] += addend[i] for n elements of host memory: fp32, fp64, bf16 (added in fp32, rounded to
/// nearest even) or int64.
void add_into(void* sum, const void* addend, std::int64_t n, at::ScalarType type);

/// sum[i] = parts[0][i] + parts[1][i] + ... from left to right; bf16 is added in fp32 and rounded
/// once. `sum` may be one of the parts.
void add_all(void* sum, std::span<const void* const> parts, std::int64_t n, at::ScalarType type);

}  // namespace kiln
