#pragma once

#include <cstdint>
#include <vector>

namespace kiln {

/// The kernel of a resize: a triangle of half-width 1, or the cubic of half-width 2 with a = -0.5.
/// Widened by the scale where an image shrinks (antialiasing).
enum class Filter { kBilinear, kBicubic };

/// Which inputs make an output value, and with what weights: fixed point with 22 fractional bits.
struct Taps {
  std::int64_t first = 0;
  std::int64_t count = 0;
  const std::int32_t* weights = nullptr;
};

/// The taps of successive outputs.
struct TapTable {
  static constexpr int kPrecisionBits = 22;

  /// Outputs [begin, begin + count) of a line of in_size values stretched to out_size.
  TapTable(std::int64_t in_size, std::int64_t out_size, std::int64_t begin, std::int64_t count,
           Filter filter = Filter::kBicubic);

  std::int64_t size() const { return std::ssize(taps); }
  std::int64_t first_input() const { return taps.front().first; }
  std::int64_t end_input() const { return taps.back().first + taps.back().count; }

  std::int64_t in_size = 0;
  std::vector<Taps> taps;
  std::vector<std::int32_t> weights;
};

}  // namespace kiln
