#include "models/kernels/host_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kiln {
namespace {

constexpr std::int64_t kLanes = 16;

template <typename T>
[[gnu::noinline]] float highest_of(const T* __restrict x, std::int64_t count) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  const std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) {
      const float value = load(x[i + j]);
      lanes[j] = value > lanes[j] ? value : lanes[j];
    }
  }
  for (std::int64_t i = whole; i < count; ++i) lanes[0] = std::max(lanes[0], load(x[i]));
  return *std::max_element(lanes, lanes + kLanes);
}

template <typename T>
[[gnu::noinline]] float sum_of_exponentials(const T* __restrict x, float shift,
                                            std::int64_t count) {
  float lanes[kLanes] = {};
  const std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += exponential(load(x[i + j]) - shift);
  }
  for (std::int64_t i = whole; i < count; ++i) lanes[i - whole] += exponential(load(x[i]) - shift);
  for (std::int64_t step = kLanes / 2; step > 0; step /= 2) {
    for (std::int64_t j = 0; j < step; ++j) lanes[j] += lanes[j + step];
  }
  return lanes[0];
}

}  // namespace

template <typename T>
RowPeak log_sum_exp(const T* x, std::int64_t count) {
  const float highest = highest_of(x, count);
  RowPeak peak;
  peak.log_sum = highest + std::log(sum_of_exponentials(x, highest, count));
  while (peak.index + 1 < count && load(x[peak.index]) != highest) ++peak.index;
  return peak;
}

template <typename T>
void softmax_gradient(const T* __restrict x, T* __restrict d, std::int64_t count, float log_sum,
                      float factor, std::int64_t label) {
  for (std::int64_t i = 0; i < count; ++i) {
    store(d[i], factor * exponential(load(x[i]) - log_sum));
  }
  store(d[label], factor * (exponential(load(x[label]) - log_sum) - 1.0f));
}

template <typename T>
void add_to_row(const T* __restrict from, T* __restrict to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) store(to[i], load(to[i]) + load(from[i]));
}

#define KILN_INSTANTIATE(T)                                                               \
  template RowPeak log_sum_exp(const T*, std::int64_t);                                   \
  template void softmax_gradient(const T*, T*, std::int64_t, float, float, std::int64_t); \
  template void add_to_row(const T*, T*, std::int64_t)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);

}  // namespace kiln
