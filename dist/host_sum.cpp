#include "dist/host_sum.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/base/error.h"

namespace kiln {
namespace {

// Elements added per pass over the parts: small enough for the running sum to stay in the first
// level cache, and long enough to vectorise.
constexpr std::int64_t kTile = 1024;

float widen(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

// Round to nearest even; a NaN stays a NaN. Branch-free, so that the loops vectorise.
std::uint16_t narrow(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t quiet_nan = (bits >> 16) | 0x40u;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
}

template <typename T>
void add_all_of(T* sum, std::span<const void* const> parts, std::int64_t n) {
  T tile[kTile];
  for (std::int64_t begin = 0; begin < n; begin += kTile) {
    const std::int64_t count = std::min(kTile, n - begin);
    std::memcpy(tile, static_cast<const T*>(parts[0]) + begin, count * sizeof(T));
    for (const void* part : parts.subspan(1)) {
      const T* values = static_cast<const T*>(part) + begin;
      for (std::int64_t i = 0; i < count; ++i) tile[i] += values[i];
    }
    std::memcpy(sum + begin, tile, count * sizeof(T));
  }
}

void add_all_bf16(std::uint16_t* sum, std::span<const void* const> parts, std::int64_t n) {
  float tile[kTile];
  for (std::int64_t begin = 0; begin < n; begin += kTile) {
    const std::int64_t count = std::min(kTile, n - begin);
    const auto* first = static_cast<const std::uint16_t*>(parts[0]) + begin;
    for (std::int64_t i = 0; i < count; ++i) tile[i] = widen(first[i]);
    for (const void* part : parts.subspan(1)) {
      const auto* values = static_cast<const std::uint16_t*>(part) + begin;
      for (std::int64_t i = 0; i < count; ++i) tile[i] += widen(values[i]);
    }
    for (std::int64_t i = 0; i < count; ++i) sum[begin + i] = narrow(tile[i]);
  }
}

}  // namespace

void add_all(void* sum, std::span<const void* const> parts, std::int64_t n, at::ScalarType type) {
  KILN_CHECK(!parts.empty());
  switch (type) {
    case at::kFloat:
      return add_all_of(static_cast<float*>(sum), parts, n);
    case at::kDouble:
      return add_all_of(static_cast<double*>(sum), parts, n);
    case at::kLong:
      return add_all_of(static_cast<std::int64_t*>(sum), parts, n);
    case at::kBFloat16:
      return add_all_bf16(static_cast<std::uint16_t*>(sum), parts, n);
    default:
      KILN_CHECK(false, "cannot add {}", c10::toString(type));
  }
}

void add_into(void* sum, const void* addend, std::int64_t n, at::ScalarType type) {
  const void* parts[] = {sum, addend};
  add_all(sum, parts, n, type);
}

}  // namespace kiln
