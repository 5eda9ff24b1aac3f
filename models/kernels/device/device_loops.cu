#include "core/device/device_launch.cuh"
#include "core/device/device_pack.cuh"
#include "models/kernels/device/device_dropout.cuh"
#include "models/kernels/device/device_loops.h"

namespace kiln {
namespace {

constexpr int kElementThreads = 256;

std::int64_t blocks_for(std::int64_t threads) {
  return (threads + kElementThreads - 1) / kElementThreads;
}

/// The first of this thread's V elements.
template <int V>
__device__ std::int64_t own_elements() {
  return (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * V;
}

template <typename T, int V, bool kIsTanh>
__global__ void gelu_kernel(T* u, const T* bias, T* a, std::int64_t count, std::int64_t cols) {
  const std::int64_t at = own_elements<V>();
  if (at >= count) return;
  auto in = load_pack<T, V>(u + at);
  if (bias) {
    const auto added = load_pack<T, V>(bias + at % cols);
    for (int v = 0; v < V; ++v) store(in.at[v], load(in.at[v]) + load(added.at[v]));
    store_pack(u + at, in);
  }
  Pack<T, V> out;
  for (int v = 0; v < V; ++v) {
    const float value = load(in.at[v]);
    store(out.at[v], (kIsTanh ? gelu_tanh(value) : gelu_erf(value)).value);
  }
  store_pack(a + at, out);
}

template <typename T, int V, bool kIsTanh>
__global__ void gelu_backward_kernel(const T* u, T* d, T* a, std::int64_t count) {
  const std::int64_t at = own_elements<V>();
  if (at >= count) return;
  const auto in = load_pack<T, V>(u + at);
  auto gradient = load_pack<T, V>(d + at);
  Pack<T, V> out;
  for (int v = 0; v < V; ++v) {
    const float value = load(in.at[v]);
    const Activated g = kIsTanh ? gelu_tanh(value) : gelu_erf(value);
    store(out.at[v], g.value);
    store(gradient.at[v], load(gradient.at[v]) * g.slope);
  }
  store_pack(a + at, out);
  store_pack(d + at, gradient);
}

template <typename T>
__global__ void keep_factors_kernel(const Keep keep, T* out, std::int64_t count) {
  constexpr int V = 4;  // the words of one block of Philox
  const std::int64_t at = own_elements<V>();
  float factors[V];
  if (at < count) keep.factors(at, factors);
  for (int v = 0; v < V; ++v) {
    if (at + v < count) store(out[at + v], factors[v]);
  }
}

}  // namespace

bool has_device_loops() { return true; }

template <typename T>
void device_bias_gelu(T* u, const T* bias, T* a, std::int64_t rows, std::int64_t cols, bool is_tanh,
                      void* stream) {
  constexpr int V = kWidest<T>;
  const std::int64_t count = rows * cols;
  if (cols % V == 0 && are_aligned({u, bias, a}, 16)) {
    return launch("gelu", is_tanh ? gelu_kernel<T, V, true> : gelu_kernel<T, V, false>,
                  blocks_for(count / V), kElementThreads, stream, u, bias, a, count, cols);
  }
  launch("gelu", is_tanh ? gelu_kernel<T, 1, true> : gelu_kernel<T, 1, false>, blocks_for(count),
         kElementThreads, stream, u, bias, a, count, cols);
}

template <typename T>
void device_gelu_backward(const T* u, T* d, T* a, std::int64_t count, bool is_tanh, void* stream) {
  constexpr int V = kWidest<T>;
  const char* what = "gelu backward";
  if (count % V == 0 && are_aligned({u, d, a}, 16)) {
    return launch(what,
                  is_tanh ? gelu_backward_kernel<T, V, true> : gelu_backward_kernel<T, V, false>,
                  blocks_for(count / V), kElementThreads, stream, u, d, a, count);
  }
  launch(what, is_tanh ? gelu_backward_kernel<T, 1, true> : gelu_backward_kernel<T, 1, false>,
         blocks_for(count), kElementThreads, stream, u, d, a, count);
}

template <typename T>
void device_keep_factors(const DropoutSite& site, T* out, std::int64_t count, void* stream) {
  launch("dropout", keep_factors_kernel<T>, blocks_for((count + 3) / 4), kElementThreads, stream,
         keep_of(site), out, count);
}

#define KILN_INSTANTIATE(T)                                                                  \
  template void device_bias_gelu(T*, const T*, T*, std::int64_t, std::int64_t, bool, void*); \
  template void device_gelu_backward(const T*, T*, T*, std::int64_t, bool, void*);           \
  template void device_keep_factors(const DropoutSite&, T*, std::int64_t, void*)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);
#undef KILN_INSTANTIATE

}  // namespace kiln
