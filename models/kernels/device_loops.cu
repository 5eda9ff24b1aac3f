#include "core/device_launch.cuh"
#include "models/kernels/device_loops.h"
#include "models/kernels/row_chunks.h"

namespace kiln {
namespace {

/// Dropout of a kernel: by value, since the host's struct lies in host memory.
struct Keep {
  DropoutSite site;
  bool is_there;
  __device__ float factor(std::int64_t element) const {
    if (!is_there) return 1.0f;
    const auto words =
        site.stream.block(site.first_block + static_cast<std::uint64_t>(element / 4));
    return site.factor(words[static_cast<std::size_t>(element % 4)]);
  }
};

Keep keep_of(const std::optional<DropoutSite>& site) {
  if (site) return {*site, true};
  return {{Philox(0, Purpose::kDropout, 0), 0, 0.0f, 1.0f}, false};
}

constexpr int kElementThreads = 256;

template <typename T, bool kIsTanh>
__global__ void gelu_kernel(T* u, const T* bias, T* a, std::int64_t count, std::int64_t cols) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  if (bias) store(u[i], load(u[i]) + load(bias[i % cols]));
  const float v = load(u[i]);
  store(a[i], (kIsTanh ? gelu_tanh(v) : gelu_erf(v)).value);
}

template <typename T, bool kIsTanh>
__global__ void gelu_backward_kernel(const T* u, T* d, T* a, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float v = load(u[i]);
  const Activated g = kIsTanh ? gelu_tanh(v) : gelu_erf(v);
  store(a[i], g.value);
  store(d[i], load(d[i]) * g.slope);
}

std::int64_t blocks_for(std::int64_t count) {
  return (count + kElementThreads - 1) / kElementThreads;
}

// Columns of a thread: threadIdx.x, + blockDim.x, ... At most this many are kept in registers.
constexpr int kPerThread = 8;
constexpr int kMostThreads = kMaxDeviceColumns / kPerThread;

int threads_for(std::int64_t cols) {
  const int threads = threads_to_cover((cols + kPerThread - 1) / kPerThread, kMostThreads);
  return threads < 64 ? 64 : threads;
}

template <typename T>
__device__ const T* of_group(const T* base, std::int64_t group, std::int64_t stride) {
  return base ? base + group * stride : nullptr;
}

// One block a row.
template <typename T>
__global__ void residual_norm_kernel(const ResidualNorm<T> a, const Keep keep) {
  const std::int64_t row = blockIdx.x, group = row / a.rows_per_group;
  const T* gate = of_group(a.gate, group, a.gate_stride);
  const T* gamma = of_group(a.gamma, group, a.affine_stride);
  const T* beta = of_group(a.beta, group, a.affine_stride);
  float values[kPerThread];
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const std::int64_t i = threadIdx.x + std::int64_t{k} * blockDim.x;
    values[k] = 0.0f;
    if (i >= a.cols) continue;
    const std::int64_t at = row * a.cols + i;
    if (a.y) {
      float branch = load(a.y[at]);
      if (a.bias) branch += load(a.bias[i]);
      branch *= keep.factor(at);
      if (gate) branch *= load(gate[i]);
      T stored;
      store(stored, load(a.x[at]) + branch);
      a.h[at] = stored;
      values[k] = load(stored);
    } else {
      values[k] = load(a.x[at]);
    }
    sum += values[k];
  }
  if (!a.n) return;
  const auto length = static_cast<float>(a.cols);
  const float mean = block_sum(sum) / length;
  float squares = 0.0f;
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const std::int64_t i = threadIdx.x + std::int64_t{k} * blockDim.x;
    const float centred = values[k] - mean;
    if (i < a.cols) squares += centred * centred;
  }
  const float rstd = 1.0f / sqrtf(block_sum(squares) / length + a.eps);
  if (threadIdx.x == 0) {
    a.mean[row] = mean;
    a.rstd[row] = rstd;
  }
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const std::int64_t i = threadIdx.x + std::int64_t{k} * blockDim.x;
    if (i >= a.cols) continue;
    float v = (values[k] - mean) * rstd;
    if (gamma) v *= load(gamma[i]) + a.gamma_offset;
    if (beta) v += load(beta[i]);
    store(a.n[row * a.cols + i], v);
  }
}

/// What a thread adds up over the rows of a chunk, for each of its columns.
struct ColumnSums {
  float gamma[kPerThread], beta[kPerThread], bias[kPerThread], gate[kPerThread];
};

__device__ void write_sums(float* to, const float* sums, std::int64_t chunk, std::int64_t cols) {
  if (!to) return;
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const std::int64_t i = threadIdx.x + std::int64_t{k} * blockDim.x;
    if (i < cols) to[chunk * cols + i] = sums[k];
  }
}

/// The gradient at the sum goes on to the branch: through gate and dropout.
template <typename T>
__device__ void branch_backward(const ResidualNorm<T>& a, const Keep& keep, const T* gate,
                                std::int64_t at, std::int64_t i, float d, T* dy, ColumnSums& sums,
                                int k) {
  if (!a.y) return;
  d *= keep.factor(at);
  if (gate) {
    sums.gate[k] += d * (load(a.y[at]) + (a.bias ? load(a.bias[i]) : 0.0f));
    d *= load(gate[i]);
  }
  sums.bias[k] += d;
  if (dy) store(dy[at], d);
}

template <typename T>
__device__ void backward_row(const ResidualNorm<T>& a, const Keep& keep, const T* dn, const T* dh,
                             T* dx, T* dy, std::int64_t row, ColumnSums& sums) {
  const std::int64_t group = row / a.rows_per_group;
  const T* gamma = of_group(a.gamma, group, a.affine_stride);
  const T* gate = of_group(a.gate, group, a.gate_stride);
  const float mean = dn ? a.mean[row] : 0.0f, rstd = dn ? a.rstd[row] : 0.0f;
  float g[kPerThread], hat[kPerThread];
  float c1 = 0.0f, c2 = 0.0f;
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const std::int64_t i = threadIdx.x + std::int64_t{k} * blockDim.x;
    g[k] = hat[k] = 0.0f;
    if (!dn || i >= a.cols) continue;
    const float d = load(dn[row * a.cols + i]);
    hat[k] = (load(a.h[row * a.cols + i]) - mean) * rstd;
    g[k] = gamma ? d * (load(gamma[i]) + a.gamma_offset) : d;
    sums.gamma[k] += d * hat[k];
    sums.beta[k] += d;
    c1 += g[k];
    c2 += g[k] * hat[k];
  }
  if (dn) {
    c1 = block_sum(c1) / static_cast<float>(a.cols);
    c2 = block_sum(c2) / static_cast<float>(a.cols);
  }
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const std::int64_t i = threadIdx.x + std::int64_t{k} * blockDim.x;
    if (i >= a.cols) continue;
    const std::int64_t at = row * a.cols + i;
    float d = dn ? rstd * (g[k] - c1 - hat[k] * c2) : 0.0f;
    if (dh) d += load(dh[at]);
    store(dx[at], d);
    branch_backward(a, keep, gate, at, i, d, dy, sums, k);
  }
}

// One block a chunk of rows.
template <typename T>
__global__ void residual_norm_backward_kernel(const ResidualNorm<T> a, const Keep keep, const T* dn,
                                              const T* dh, T* dx, T* dy,
                                              const ResidualNormSums sums, const RowChunks chunks) {
  ColumnSums own = {};
  const std::int64_t chunk = blockIdx.x;
  for (std::int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
    backward_row(a, keep, dn, dh, dx, dy, row, own);
  }
  write_sums(sums.gamma, own.gamma, chunk, a.cols);
  write_sums(sums.beta, own.beta, chunk, a.cols);
  write_sums(sums.bias, own.bias, chunk, a.cols);
  write_sums(sums.gate, own.gate, chunk, a.cols);
}

}  // namespace

bool has_device_loops() { return true; }

template <typename T>
void device_bias_gelu(T* u, const T* bias, T* a, std::int64_t rows, std::int64_t cols, bool is_tanh,
                      void* stream) {
  const std::int64_t count = rows * cols;
  launch("gelu", is_tanh ? gelu_kernel<T, true> : gelu_kernel<T, false>, blocks_for(count),
         kElementThreads, stream, u, bias, a, count, cols);
}

template <typename T>
void device_gelu_backward(const T* u, T* d, T* a, std::int64_t count, bool is_tanh, void* stream) {
  launch("gelu backward", is_tanh ? gelu_backward_kernel<T, true> : gelu_backward_kernel<T, false>,
         blocks_for(count), kElementThreads, stream, u, d, a, count);
}

template <typename T>
void device_residual_norm(const ResidualNorm<T>& a, const std::optional<DropoutSite>& keep,
                          std::int64_t rows, void* stream) {
  launch("residual norm", residual_norm_kernel<T>, rows, threads_for(a.cols), stream, a,
         keep_of(keep));
}

template <typename T>
void device_residual_norm_backward(const ResidualNorm<T>& a, const std::optional<DropoutSite>& keep,
                                   const T* dn, const T* dh, T* dx, T* dy,
                                   const ResidualNormSums& sums, std::int64_t groups,
                                   void* stream) {
  const RowChunks chunks{a.rows_per_group, groups};
  launch("residual norm backward", residual_norm_backward_kernel<T>, chunks.count(),
         threads_for(a.cols), stream, a, keep_of(keep), dn, dh, dx, dy, sums, chunks);
}

#define KILN_INSTANTIATE(T)                                                                     \
  template void device_bias_gelu(T*, const T*, T*, std::int64_t, std::int64_t, bool, void*);    \
  template void device_gelu_backward(const T*, T*, T*, std::int64_t, bool, void*);              \
  template void device_residual_norm(const ResidualNorm<T>&, const std::optional<DropoutSite>&, \
                                     std::int64_t, void*);                                      \
  template void device_residual_norm_backward(                                                  \
      const ResidualNorm<T>&, const std::optional<DropoutSite>&, const T*, const T*, T*, T*,    \
      const ResidualNormSums&, std::int64_t, void*)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);
#undef KILN_INSTANTIATE

}  // namespace kiln
