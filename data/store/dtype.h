#pragma once

#include <cstdint>
#include <string_view>

namespace kiln {

/// Types of values in datasets. On disk always little-endian.
enum class DType : std::uint8_t {
  kUInt8,
  kUInt16,
  kUInt32,
  kInt32,
  kInt64,
  kFloat16,
  kFloat32,
  kUInt64
};

std::int64_t size_bytes(DType type);
/// "uint8", "float16", ... as numpy calls them.
std::string_view name(DType type);
/// Throws Error(kData) that lists the known names.
DType dtype_from_name(std::string_view name);
/// The integer stored at `bytes`. Throws Error(kData) for types that are not integers.
std::int64_t integer_at(DType type, const std::uint8_t* bytes);

}  // namespace kiln
