#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kiln {

// Reductions in a fixed number of lanes: vectorised, and the same bits from any compiler.
constexpr std::int64_t kLanes = 16;

/// value(0) + ... + value(count - 1).
template <typename Value>
float lane_sum(std::int64_t count, const Value& value) {
  float lanes[kLanes] = {};
  const std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += value(i + j);
  }
  for (std::int64_t i = whole; i < count; ++i) lanes[i - whole] += value(i);
  for (std::int64_t step = kLanes / 2; step > 0; step /= 2) {
    for (std::int64_t j = 0; j < step; ++j) lanes[j] += lanes[j + step];
  }
  return lanes[0];
}

/// The highest of value(0), ..., value(count - 1).
template <typename Value>
float lane_max(std::int64_t count, const Value& value) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  const std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) {
      const float x = value(i + j);
      lanes[j] = x > lanes[j] ? x : lanes[j];
    }
  }
  for (std::int64_t i = whole; i < count; ++i) lanes[0] = std::max(lanes[0], value(i));
  return *std::max_element(lanes, lanes + kLanes);
}

}  // namespace kiln
