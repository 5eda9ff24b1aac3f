#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/philox.h"
#include "models/kernels/elements.h"

// For tests of the CUDA kernels carried out by threads of the host (support/cuda_on_host), against
// the loops over host memory: odd sizes, fp32 and bf16.

namespace kiln {

template <typename T>
std::vector<T> random(std::int64_t count, std::int64_t number, float scale = 1.0f) {
  std::vector<float> values(static_cast<std::size_t>(count));
  fill_normal(Philox(5, Purpose::kNoise, number), values.data(), count);
  std::vector<T> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) store(result[i], values[i] * scale);
  return result;
}

/// Within `tolerance` of the largest.
template <typename T>
void expect_near(const std::vector<T>& got, const std::vector<T>& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  double largest = 0.0, error = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double right = load(expected[i]);
    largest = std::max(largest, std::abs(right));
    error = std::max(error, std::abs(load(got[i]) - right));
    ASSERT_FALSE(std::isnan(load(got[i]))) << i;
  }
  EXPECT_GT(largest, 0.0);
  EXPECT_LE(error, tolerance * largest);
}

template <typename T>
class KernelTest : public testing::Test {
 protected:
  // Sums in another order; in bf16 a result on the border of two values may fall to either.
  static constexpr double kTolerance = std::is_same_v<T, float> ? 2e-6 : 1e-2;
};
using KernelTypes = testing::Types<float, Bf16>;

}  // namespace kiln
