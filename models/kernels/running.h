#pragma once

#include <cstdint>

#include "models/kernels/elements.h"

// Statistics that grow by values or by one another, the same on host and device, so that threads
// can each take a share and merge.

namespace kiln {

/// Count, mean and sum of squared deviations (Chan, Golub and LeVeque 1979).
struct Moments {
  float count = 0.0f, mean = 0.0f, squares = 0.0f;

  KILN_HOST_DEVICE void add(float value) {
    count += 1.0f;
    const float off = value - mean;
    mean += off / count;
    squares = multiply_add(off, value - mean, squares);
  }
  KILN_HOST_DEVICE void merge(const Moments& other) {
    if (other.count == 0.0f) return;
    const float total = count + other.count, off = other.mean - mean;
    const float share = other.count / total;
    mean = multiply_add(off, share, mean);
    squares += multiply_add(off * off, count * share, other.squares);
    count = total;
  }
};

/// The highest of some values, the first of equals, and the sum of exp(value - highest).
struct Peak {
  static constexpr float kNone = -3.0e38f;
  float highest = kNone, sum = 0.0f;
  std::int64_t index = 0;

  KILN_HOST_DEVICE void add(float value, std::int64_t at) {
    if (value > highest) {
      sum = multiply_add(sum, exponential(highest - value), 1.0f);
      highest = value;
      index = at;
    } else {
      sum += exponential(value - highest);
    }
  }
  KILN_HOST_DEVICE void merge(const Peak& other) {
    const bool is_higher = other.highest > highest ||
                           (other.highest == highest && other.sum > 0.0f && other.index < index);
    const float top = other.highest > highest ? other.highest : highest;
    sum = sum * exponential(highest - top) + other.sum * exponential(other.highest - top);
    if (is_higher) index = other.index;
    highest = top;
  }
};

}  // namespace kiln
