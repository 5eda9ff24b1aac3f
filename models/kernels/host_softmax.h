#pragma once

#include <cstdint>

#include "models/kernels/elements.h"

// Rows of scores over a vocabulary. T = float or Bf16, arithmetic in fp32.

namespace kiln {

struct RowPeak {
  float log_sum = 0.0f;    // log(sum_i exp(x_i))
  std::int64_t index = 0;  // of the highest, the first of equals
};
template <typename T>
RowPeak log_sum_exp(const T* x, std::int64_t count);

/// d = factor * (softmax(x) - [i == label]), given log_sum.
template <typename T>
void softmax_gradient(const T* x, T* d, std::int64_t count, float log_sum, float factor,
                      std::int64_t label);

/// to += from.
template <typename T>
void add_to_row(const T* from, T* to, std::int64_t count);

}  // namespace kiln
