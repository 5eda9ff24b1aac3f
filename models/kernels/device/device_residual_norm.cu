#include "core/device/device_launch.cuh"
#include "core/device/device_pack.cuh"
#include "models/kernels/device/device_dropout.cuh"
#include "models/kernels/device/device_residual_norm.h"
#include "models/kernels/row_chunks.h"

namespace kiln {
namespace {

// A thread has these many columns of a row, in packs of V: those that begin at V * threadIdx.x,
// V * (threadIdx.x + blockDim.x), ... A block has R rows at once, so that a barrier and the wait
// for memory are paid for once.
constexpr int kColumns = 8;
constexpr int kMostThreads = kMaxDeviceColumns / kColumns;
constexpr int kRowsAtOnce = 4;
constexpr int kMostThreadsOfRows = 256;  // with so many rows at once, for their registers

template <int R>
[[maybe_unused]] constexpr int kThreads = R == 1 ? kMostThreads : kMostThreadsOfRows;

int threads_for(std::int64_t cols) {
  return threads_to_cover((cols + kColumns - 1) / kColumns, kMostThreads);
}

template <int V>
__device__ std::int64_t own_column(int k) {
  return (threadIdx.x + std::int64_t{k} * blockDim.x) * V;
}

template <typename T>
__device__ const T* of_group(const T* base, std::int64_t group, std::int64_t stride) {
  return base ? base + group * stride : nullptr;
}

template <typename T>
__device__ std::int64_t group_of(const ResidualNorm<T>& a, std::int64_t row) {
  if (a.gate_stride == 0 && a.affine_stride == 0) return 0;
  return static_cast<std::uint32_t>(row) / static_cast<std::uint32_t>(a.rows_per_group);
}

/// Sums over the block of N values a thread, in all threads, in the order of block_sum. `turn`: 0
/// at first, the same in all threads.
template <int N>
__device__ void block_sums(float (&values)[N], int& turn) {
  __shared__ float warps[2][32][N];  // by turns: the last call's may still be read
#pragma unroll
  for (int n = 0; n < N; ++n) {
    for (int step = 16; step > 0; step /= 2) {
      values[n] += __shfl_down_sync(0xffffffffu, values[n], step);
    }
    if (threadIdx.x % 32 == 0) warps[turn][threadIdx.x / 32][n] = values[n];
  }
  __syncthreads();
#pragma unroll
  for (int n = 0; n < N; ++n) values[n] = 0.0f;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) {
#pragma unroll
    for (int n = 0; n < N; ++n) values[n] += warps[turn][warp][n];
  }
  turn = 1 - turn;
}

/// V columns of h, from column i on; stored where there is a branch.
template <int V, typename T>
__device__ void residual_sum(const ResidualNorm<T>& a, const Keep& keep, const T* gate,
                             std::int64_t row, std::int64_t i, float* values) {
  const std::int64_t at = row * a.cols + i;
  const auto x = load_pack<T, V>(a.x + at);
  if (!a.y) {
    for (int v = 0; v < V; ++v) values[v] = load(x.at[v]);
    return;
  }
  const auto y = load_pack<T, V>(a.y + at);
  float branch[V], factors[V];
  for (int v = 0; v < V; ++v) branch[v] = load(y.at[v]);
  if (a.bias) {
    const auto bias = load_pack<T, V>(a.bias + i);
    for (int v = 0; v < V; ++v) branch[v] += load(bias.at[v]);
  }
  keep.factors(at, factors);
  for (int v = 0; v < V; ++v) branch[v] *= factors[v];
  if (gate) {
    const auto gates = load_pack<T, V>(gate + i);
    for (int v = 0; v < V; ++v) branch[v] *= load(gates.at[v]);
  }
  Pack<T, V> h;
  for (int v = 0; v < V; ++v) {
    store(h.at[v], load(x.at[v]) + branch[v]);
    values[v] = load(h.at[v]);
  }
  store_pack(a.h + at, h);
}

template <int V, typename T>
__device__ void write_normalised(const ResidualNorm<T>& a, const T* gamma, const T* beta,
                                 std::int64_t row, std::int64_t i, const float* values, float mean,
                                 float rstd) {
  float result[V];
  for (int v = 0; v < V; ++v) result[v] = (values[v] - mean) * rstd;
  if (gamma) {
    const auto factors = load_pack<T, V>(gamma + i);
    for (int v = 0; v < V; ++v) result[v] *= load(factors.at[v]) + a.gamma_offset;
  }
  if (beta) {
    const auto added = load_pack<T, V>(beta + i);
    for (int v = 0; v < V; ++v) result[v] += load(added.at[v]);
  }
  Pack<T, V> n;
  for (int v = 0; v < V; ++v) store(n.at[v], result[v]);
  store_pack(a.n + row * a.cols + i, n);
}

template <typename T, int V, int R>
__global__ void __launch_bounds__(kThreads<R>)
    residual_norm_kernel(const ResidualNorm<T> a, const Keep keep, const std::int64_t rows) {
  constexpr int K = kColumns / V;
  const std::int64_t first = std::int64_t{blockIdx.x} * R;
  const auto length = static_cast<float>(a.cols);
  float values[R][kColumns];
  float mean[R] = {}, squares[R] = {};
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const std::int64_t row = first + r;
    const T* gate = of_group(a.gate, group_of(a, row), a.gate_stride);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const std::int64_t i = own_column<V>(k);
      if (row >= rows || i >= a.cols) continue;
      residual_sum<V>(a, keep, gate, row, i, &values[r][k * V]);
      for (int v = 0; v < V; ++v) mean[r] += values[r][k * V + v];
    }
  }
  if (!a.n) return;
  int turn = 0;
  block_sums(mean, turn);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    mean[r] /= length;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (first + r >= rows || own_column<V>(k) >= a.cols) continue;
      for (int v = 0; v < V; ++v) {
        const float centred = values[r][k * V + v] - mean[r];
        squares[r] += centred * centred;
      }
    }
  }
  block_sums(squares, turn);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const std::int64_t row = first + r, group = group_of(a, row);
    if (row >= rows) continue;
    const float rstd = 1.0f / sqrtf(squares[r] / length + a.eps);
    if (threadIdx.x == 0) {
      a.mean[row] = mean[r];
      a.rstd[row] = rstd;
    }
    const T* gamma = of_group(a.gamma, group, a.affine_stride);
    const T* beta = of_group(a.beta, group, a.affine_stride);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const std::int64_t i = own_column<V>(k);
      if (i >= a.cols) continue;
      write_normalised<V>(a, gamma, beta, row, i, &values[r][k * V], mean[r], rstd);
    }
  }
}

/// What a thread adds up over the rows of a chunk, for each of its columns.
struct ColumnSums {
  float gamma[kColumns], beta[kColumns], bias[kColumns], gate[kColumns];
};

template <int V>
__device__ void write_sums(float* to, const float* sums, std::int64_t chunk, std::int64_t cols) {
  if (!to) return;
  constexpr int W = V < 4 ? V : 4;  // rows of sums are as aligned as those of T are, or better
#pragma unroll
  for (int k = 0; k < kColumns / V; ++k) {
    const std::int64_t i = own_column<V>(k);
    if (i >= cols) continue;
    for (int v = 0; v < V; v += W) {
      Pack<float, W> out;
      for (int w = 0; w < W; ++w) out.at[w] = sums[k * V + v + w];
      store_pack(to + chunk * cols + i + v, out);
    }
  }
}

/// What the norm's gradient is made of, for V columns of a row: g at the normalised values hat.
template <int V, typename T>
__device__ void norm_backward(const ResidualNorm<T>& a, const T* dn, const T* gamma,
                              std::int64_t at, std::int64_t i, float mean, float rstd, float* g,
                              float* hat, ColumnSums& sums, int column, float (&dots)[2]) {
  const auto gradient = load_pack<T, V>(dn + at);
  const auto h = load_pack<T, V>(a.h + at);
  float factors[V];
  for (int v = 0; v < V; ++v) factors[v] = 1.0f;
  if (gamma) {
    const auto given = load_pack<T, V>(gamma + i);
    for (int v = 0; v < V; ++v) factors[v] = load(given.at[v]) + a.gamma_offset;
  }
  for (int v = 0; v < V; ++v) {
    const float d = load(gradient.at[v]);
    hat[v] = (load(h.at[v]) - mean) * rstd;
    g[v] = d * factors[v];
    sums.gamma[column + v] += d * hat[v];
    sums.beta[column + v] += d;
    dots[0] += g[v];
    dots[1] += g[v] * hat[v];
  }
}

/// The gradient d at the sum goes on to the branch: through gate and dropout.
template <int V, typename T>
__device__ void branch_backward(const ResidualNorm<T>& a, const Keep& keep, const T* gate,
                                std::int64_t at, std::int64_t i, float (&d)[V], T* dy,
                                ColumnSums& sums, int column) {
  float factors[V];
  keep.factors(at, factors);
  for (int v = 0; v < V; ++v) d[v] *= factors[v];
  if (gate) {
    const auto y = load_pack<T, V>(a.y + at);
    const auto gates = load_pack<T, V>(gate + i);
    float branch[V];
    for (int v = 0; v < V; ++v) branch[v] = load(y.at[v]);
    if (a.bias) {
      const auto bias = load_pack<T, V>(a.bias + i);
      for (int v = 0; v < V; ++v) branch[v] += load(bias.at[v]);
    }
    for (int v = 0; v < V; ++v) {
      sums.gate[column + v] += d[v] * branch[v];
      d[v] *= load(gates.at[v]);
    }
  }
  for (int v = 0; v < V; ++v) sums.bias[column + v] += d[v];
  if (!dy) return;
  Pack<T, V> out;
  for (int v = 0; v < V; ++v) store(out.at[v], d[v]);
  store_pack(dy + at, out);
}

/// Gradients that come in, and where those that are computed go.
template <typename T>
struct NormGradients {
  const T *dn, *dh;
  T *dx, *dy;
};

/// Rows first to first + R - 1, as far as they come before `end`.
template <typename T, int V, int R>
__device__ void backward_rows(const ResidualNorm<T>& a, const Keep& keep,
                              const NormGradients<T>& at, std::int64_t first, std::int64_t end,
                              ColumnSums& sums, int& turn) {
  constexpr int K = kColumns / V;
  const std::int64_t group = group_of(a, first);  // chunks do not cross groups
  const T* gamma = of_group(a.gamma, group, a.affine_stride);
  const T* gate = of_group(a.gate, group, a.gate_stride);
  float g[R][kColumns] = {}, hat[R][kColumns] = {}, rstd[R] = {}, dots[2 * R] = {};
  // Loaded with the rest, because a load behind the barrier would mean a second wait.
  Pack<T, V> dh[R][K] = {};
#pragma unroll
  for (int r = 0; r < R; ++r) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const std::int64_t i = own_column<V>(k);
      if (first + r >= end || i >= a.cols) continue;
      if (at.dh) dh[r][k] = load_pack<T, V>(at.dh + (first + r) * a.cols + i);
    }
  }
  if (at.dn) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const std::int64_t row = first + r;
      if (row >= end) continue;
      const float mean = a.mean[row];
      rstd[r] = a.rstd[row];
      float own[2] = {};
#pragma unroll
      for (int k = 0; k < K; ++k) {
        const std::int64_t i = own_column<V>(k);
        if (i >= a.cols) continue;
        norm_backward<V>(a, at.dn, gamma, row * a.cols + i, i, mean, rstd[r], &g[r][k * V],
                         &hat[r][k * V], sums, k * V, own);
      }
      dots[2 * r] = own[0];
      dots[2 * r + 1] = own[1];
    }
    block_sums(dots, turn);
  }
  const auto length = static_cast<float>(a.cols);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const std::int64_t row = first + r;
    const float c1 = dots[2 * r] / length, c2 = dots[2 * r + 1] / length;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const std::int64_t i = own_column<V>(k);
      if (row >= end || i >= a.cols) continue;
      const std::int64_t place = row * a.cols + i;
      float d[V];
      for (int v = 0; v < V; ++v) d[v] = rstd[r] * (g[r][k * V + v] - c1 - hat[r][k * V + v] * c2);
      for (int v = 0; v < V; ++v) d[v] += load(dh[r][k].at[v]);  // zeros where there is none
      Pack<T, V> out;
      for (int v = 0; v < V; ++v) store(out.at[v], d[v]);
      store_pack(at.dx + place, out);
      if (a.y) branch_backward<V>(a, keep, gate, place, i, d, at.dy, sums, k * V);
    }
  }
}

// One block a chunk of rows.
template <typename T, int V, int R>
__global__ void __launch_bounds__(kThreads<R>)
    residual_norm_backward_kernel(const ResidualNorm<T> a, const Keep keep,
                                  const NormGradients<T> at, const ResidualNormSums sums,
                                  const RowChunks chunks) {
  ColumnSums own = {};
  int turn = 0;
  const std::int64_t chunk = blockIdx.x, end = chunks.end(chunk);
  for (std::int64_t row = chunks.begin(chunk); row < end; row += R) {
    backward_rows<T, V, R>(a, keep, at, row, end, own, turn);
  }
  write_sums<V>(sums.gamma, own.gamma, chunk, a.cols);
  write_sums<V>(sums.beta, own.beta, chunk, a.cols);
  write_sums<V>(sums.bias, own.bias, chunk, a.cols);
  write_sums<V>(sums.gate, own.gate, chunk, a.cols);
}

/// Whether all that lies in rows can be moved 16 bytes at a time.
template <typename T>
bool is_wide(const ResidualNorm<T>& a) {
  constexpr int V = kWidest<T>;
  return a.cols % V == 0 && a.gate_stride % V == 0 && a.affine_stride % V == 0 &&
         are_aligned({a.x, a.y, a.bias, a.gate, a.gamma, a.beta, a.h, a.n}, 16);
}

}  // namespace

template <typename T>
void device_residual_norm(const ResidualNorm<T>& a, const std::optional<DropoutSite>& keep,
                          std::int64_t rows, void* stream) {
  constexpr int V = kWidest<T>;
  const int threads = threads_for(a.cols);
  const bool has_many = is_wide(a) && threads <= kMostThreadsOfRows;
  const auto kernel = has_many     ? residual_norm_kernel<T, V, kRowsAtOnce>
                      : is_wide(a) ? residual_norm_kernel<T, V, 1>
                                   : residual_norm_kernel<T, 1, 1>;
  const std::int64_t blocks = has_many ? (rows + kRowsAtOnce - 1) / kRowsAtOnce : rows;
  launch("residual norm", kernel, blocks, threads, stream, a, keep_of(keep), rows);
}

template <typename T>
void device_residual_norm_backward(const ResidualNorm<T>& a, const std::optional<DropoutSite>& keep,
                                   const T* dn, const T* dh, T* dx, T* dy,
                                   const ResidualNormSums& sums, std::int64_t groups,
                                   void* stream) {
  constexpr int V = kWidest<T>;
  const RowChunks chunks{a.rows_per_group, groups};
  const int threads = threads_for(a.cols);
  const bool is_all_wide = is_wide(a) && are_aligned({dn, dh, dx, dy}, 16);
  const auto kernel = !is_all_wide ? residual_norm_backward_kernel<T, 1, 1>
                      : threads <= kMostThreadsOfRows
                          ? residual_norm_backward_kernel<T, V, kRowsAtOnce>
                          : residual_norm_backward_kernel<T, V, 1>;
  launch("residual norm backward", kernel, chunks.count(), threads, stream, a, keep_of(keep),
         NormGradients<T>{dn, dh, dx, dy}, sums, chunks);
}

#define KILN_INSTANTIATE(T)                                                                     \
  template void device_residual_norm(const ResidualNorm<T>&, const std::optional<DropoutSite>&, \
                                     std::int64_t, void*);                                      \
  template void device_residual_norm_backward(                                                  \
      const ResidualNorm<T>&, const std::optional<DropoutSite>&, const T*, const T*, T*, T*,    \
      const ResidualNormSums&, std::int64_t, void*)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);
#undef KILN_INSTANTIATE

}  // namespace kiln
