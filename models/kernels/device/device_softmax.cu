#include "core/device/device_launch.cuh"
#include "models/kernels/device/device_softmax.h"
#include "models/kernels/running.h"

namespace kiln {
namespace {

constexpr int kThreads = 256;

__device__ Peak from_lane_above(const Peak& own, int step) {
  Peak other;
  other.highest = __shfl_down_sync(0xffffffffu, own.highest, step);
  other.sum = __shfl_down_sync(0xffffffffu, own.sum, step);
  other.index = __shfl_down_sync(0xffffffffu, own.index, step);
  return other;
}

// One block a row.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(const T* logits, const std::int64_t* labels, std::int64_t cols, float* lse,
                         float* losses, std::int64_t* best) {
  __shared__ float highest[kThreads / 32], sum[kThreads / 32];
  __shared__ std::int64_t index[kThreads / 32];
  const std::int64_t row = blockIdx.x;
  const T* x = logits + row * cols;
  Peak own;
  for (std::int64_t i = threadIdx.x; i < cols; i += kThreads) own.add(load(x[i]), i);
  for (int step = 16; step > 0; step /= 2) own.merge(from_lane_above(own, step));
  if (threadIdx.x % 32 == 0) {
    highest[threadIdx.x / 32] = own.highest;
    sum[threadIdx.x / 32] = own.sum;
    index[threadIdx.x / 32] = own.index;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kThreads / 32; ++w) own.merge({highest[w], sum[w], index[w]});
  const float log_sum = own.highest + logf(own.sum);
  lse[row] = log_sum;
  losses[row] = log_sum - load(x[labels[row]]);
  best[row] = own.index;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_backward_kernel(const T* logits, const std::int64_t* labels, const float* lse,
                                  const float* factor, T* d, std::int64_t cols) {
  const std::int64_t row = blockIdx.x, label = labels[row];
  const float log_sum = lse[row], by = *factor;
  for (std::int64_t i = threadIdx.x; i < cols; i += kThreads) {
    const float p = exponential(load(logits[row * cols + i]) - log_sum);
    store(d[row * cols + i], by * (i == label ? p - 1.0f : p));
  }
}

}  // namespace

template <typename T>
void device_cross_entropy(const T* logits, const std::int64_t* labels, std::int64_t rows,
                          std::int64_t cols, float* lse, float* losses, std::int64_t* best,
                          void* stream) {
  launch("cross entropy", cross_entropy_kernel<T>, rows, kThreads, stream, logits, labels, cols,
         lse, losses, best);
}

template <typename T>
void device_cross_entropy_backward(const T* logits, const std::int64_t* labels, const float* lse,
                                   const float* factor, T* d, std::int64_t rows, std::int64_t cols,
                                   void* stream) {
  launch("cross entropy backward", cross_entropy_backward_kernel<T>, rows, kThreads, stream, logits,
         labels, lse, factor, d, cols);
}

#define KILN_INSTANTIATE(T)                                                                     \
  template void device_cross_entropy(const T*, const std::int64_t*, std::int64_t, std::int64_t, \
                                     float*, float*, std::int64_t*, void*);                     \
  template void device_cross_entropy_backward(const T*, const std::int64_t*, const float*,      \
                                              const float*, T*, std::int64_t, std::int64_t, void*)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);
#undef KILN_INSTANTIATE

}  // namespace kiln
