#include "models/kernels/host_softmax.h"

#include <cmath>

#include "models/kernels/lanes.h"

namespace kiln {
namespace {

template <typename T>
[[gnu::noinline]] float highest_of(const T* x, std::int64_t count) {
  return lane_max(count, [x](std::int64_t i) { return load(x[i]); });
}

template <typename T>
[[gnu::noinline]] float sum_of_exponentials(const T* x, float shift, std::int64_t count) {
  return lane_sum(count, [x, shift](std::int64_t i) { return exponential(load(x[i]) - shift); });
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
