#include "models/kernels/host_loops.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/kernels/lanes.h"

namespace kiln {
namespace {

/// Memory of a thread, at least `count` floats.
float* scratch(std::size_t index, std::int64_t count) {
  static thread_local std::vector<float> memory[3];
  auto& mine = memory[index];
  if (mine.size() < static_cast<std::size_t>(count)) mine.resize(static_cast<std::size_t>(count));
  return mine.data();
}

// The loops below have restrict parameters and no branches, the form that compilers vectorise.

template <typename T, bool kIsTanh>
[[gnu::noinline]] void gelu_row(T* __restrict u, const T* __restrict bias, T* __restrict a,
                                std::int64_t count) {
  if (bias) {
    for (std::int64_t i = 0; i < count; ++i) store(u[i], load(u[i]) + load(bias[i]));
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const float v = load(u[i]);
    store(a[i], (kIsTanh ? gelu_tanh(v) : gelu_erf(v)).value);
  }
}

template <typename T, bool kIsTanh>
[[gnu::noinline]] void gelu_backward_row(const T* __restrict u, T* __restrict d, T* __restrict a,
                                         std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float v = load(u[i]);
    const Activated g = kIsTanh ? gelu_tanh(v) : gelu_erf(v);
    store(a[i], g.value);
    store(d[i], load(d[i]) * g.slope);
  }
}

template <typename T>
[[gnu::noinline]] void add_row(const T* __restrict x, float* __restrict sums, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) sums[i] += load(x[i]);
}

// out = gate * keep * (y + bias), all but y optional.
template <typename T>
void branch_row(const T* __restrict y, const T* __restrict bias, const T* __restrict gate,
                const float* __restrict keep, float* __restrict out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = load(y[i]);
  if (bias) {
    for (std::int64_t i = 0; i < count; ++i) out[i] += load(bias[i]);
  }
  if (keep) {
    for (std::int64_t i = 0; i < count; ++i) out[i] *= keep[i];
  }
  if (gate) {
    for (std::int64_t i = 0; i < count; ++i) out[i] *= load(gate[i]);
  }
}

template <typename T>
void affine_row(const T* __restrict h, const T* __restrict gamma, const T* __restrict beta,
                float offset, float mean, float rstd, T* __restrict n, std::int64_t count) {
  if (gamma && beta) {
    for (std::int64_t i = 0; i < count; ++i) {
      const float hat = (load(h[i]) - mean) * rstd;
      store(n[i], multiply_add(hat, load(gamma[i]) + offset, load(beta[i])));
    }
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    float v = (load(h[i]) - mean) * rstd;
    if (gamma) v *= load(gamma[i]) + offset;
    if (beta) v += load(beta[i]);
    store(n[i], v);
  }
}

template <typename T>
const T* of_group(const T* base, std::int64_t group, std::int64_t stride) {
  return base ? base + group * stride : nullptr;
}

// g = dn * (gamma + offset), hat = the normalised value.
template <typename T>
void scaled_row(const T* __restrict dn, const T* __restrict gamma, float offset,
                const T* __restrict h, float mean, float rstd, float* __restrict g,
                float* __restrict hat, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) hat[i] = (load(h[i]) - mean) * rstd;
  if (gamma) {
    for (std::int64_t i = 0; i < count; ++i) g[i] = load(dn[i]) * (load(gamma[i]) + offset);
  } else {
    for (std::int64_t i = 0; i < count; ++i) g[i] = load(dn[i]);
  }
}

template <typename T>
void add_affine_sums(const T* __restrict dn, const float* __restrict hat, float* __restrict gamma,
                     float* __restrict beta, std::int64_t count) {
  if (gamma) {
    for (std::int64_t i = 0; i < count; ++i) gamma[i] += load(dn[i]) * hat[i];
  }
  if (beta) add_row(dn, beta, count);
}

void norm_backward_row(float* __restrict d, const float* __restrict hat, float rstd, float c1,
                       float c2, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) d[i] = rstd * (d[i] - c1 - hat[i] * c2);
}

template <typename T>
void store_row(const float* __restrict from, T* __restrict to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) store(to[i], from[i]);
}

void multiply_row(float* __restrict d, const float* __restrict by, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) d[i] *= by[i];
}

// From the gradient d of the sum to that of the branch: d becomes gate * keep * d.
template <typename T>
void branch_backward(const ResidualNorm<T>& a, std::int64_t row, float* d, T* dy,
                     const ResidualNormSums& sums) {
  const std::int64_t count = a.cols;
  if (a.keep) {
    float* keep = scratch(2, count);
    a.keep->fill(row * count, count, keep);
    multiply_row(d, keep, count);
  }
  const T* gate = of_group(a.gate, row / a.rows_per_group, a.gate_stride);
  if (gate) {
    const T* __restrict y = a.y + row * count;
    if (sums.gate) {
      for (std::int64_t i = 0; i < count; ++i) {
        sums.gate[i] += d[i] * (load(y[i]) + (a.bias ? load(a.bias[i]) : 0.0f));
      }
    }
    for (std::int64_t i = 0; i < count; ++i) d[i] *= load(gate[i]);
  }
  if (sums.bias) add_row(static_cast<const float*>(d), sums.bias, count);
  if (dy) store_row(d, dy, count);
}

}  // namespace

template <typename T>
void bias_gelu(T* u, const T* bias, T* a, std::int64_t rows, std::int64_t cols, bool is_tanh) {
  for (std::int64_t row = 0; row < rows; ++row) {
    is_tanh ? gelu_row<T, true>(u + row * cols, bias, a + row * cols, cols)
            : gelu_row<T, false>(u + row * cols, bias, a + row * cols, cols);
  }
}

template <typename T>
void gelu_backward(const T* u, T* d, T* a, std::int64_t count, bool is_tanh) {
  is_tanh ? gelu_backward_row<T, true>(u, d, a, count)
          : gelu_backward_row<T, false>(u, d, a, count);
}

template <typename T>
void column_sums(const T* x, std::int64_t stride, std::int64_t rows, std::int64_t cols,
                 float* sums) {
  // Sums of runs of rows, then the sum of those: the error grows with the root of the rows, and a
  // strip of columns stays in the first cache.
  constexpr std::int64_t kStrip = 512, kRun = 32;
  float run[kStrip];
  for (std::int64_t first = 0; first < cols; first += kStrip) {
    const std::int64_t width = std::min(kStrip, cols - first);
    std::fill_n(sums + first, width, 0.0f);
    for (std::int64_t begin = 0; begin < rows; begin += kRun) {
      std::fill_n(run, width, 0.0f);
      const std::int64_t end = std::min(rows, begin + kRun);
      for (std::int64_t row = begin; row < end; ++row)
        add_row(x + row * stride + first, run, width);
      add_row(static_cast<const float*>(run), sums + first, width);
    }
  }
}

template <typename T>
void residual_norm(const ResidualNorm<T>& a, std::int64_t row_begin, std::int64_t row_end) {
  const std::int64_t count = a.cols;
  float* branch = scratch(0, count);
  float* keep = a.keep ? scratch(1, count) : nullptr;
  for (std::int64_t row = row_begin; row < row_end; ++row) {
    const std::int64_t group = row / a.rows_per_group;
    const T* h = a.x + row * count;
    if (a.y) {
      if (keep) a.keep->fill(row * count, count, keep);
      branch_row(a.y + row * count, a.bias, of_group(a.gate, group, a.gate_stride), keep, branch,
                 count);
      const T* __restrict x = h;
      T* __restrict sum = a.h + row * count;
      for (std::int64_t i = 0; i < count; ++i) store(sum[i], load(x[i]) + branch[i]);
      h = sum;
    }
    if (!a.n) continue;
    const auto length = static_cast<float>(count);
    const float mean = lane_sum(count, [h](std::int64_t i) { return load(h[i]); }) / length;
    const float variance = lane_sum(count,
                                    [h, mean](std::int64_t i) {
                                      const float centred = load(h[i]) - mean;
                                      return centred * centred;
                                    }) /
                           length;
    const float rstd = 1.0f / std::sqrt(variance + a.eps);
    a.mean[row] = mean;
    a.rstd[row] = rstd;
    affine_row(h, of_group(a.gamma, group, a.affine_stride),
               of_group(a.beta, group, a.affine_stride), a.gamma_offset, mean, rstd,
               a.n + row * count, count);
  }
}

template <typename T>
void residual_norm_backward(const ResidualNorm<T>& a, const T* dn, const T* dh, T* dx, T* dy,
                            const ResidualNormSums& sums, std::int64_t row_begin,
                            std::int64_t row_end) {
  const std::int64_t count = a.cols;
  const auto length = static_cast<float>(count);
  float* d = scratch(0, count);
  float* hat = scratch(1, count);
  for (std::int64_t row = row_begin; row < row_end; ++row) {
    std::fill_n(d, count, 0.0f);
    if (dn) {
      const T* own = dn + row * count;
      const T* gamma = of_group(a.gamma, row / a.rows_per_group, a.affine_stride);
      const float rstd = a.rstd[row];
      scaled_row(own, gamma, a.gamma_offset, static_cast<const T*>(a.h) + row * count, a.mean[row],
                 rstd, d, hat, count);
      const float c1 = lane_sum(count, [d](std::int64_t i) { return d[i]; }) / length;
      const float c2 = lane_sum(count, [d, hat](std::int64_t i) { return d[i] * hat[i]; }) / length;
      add_affine_sums(own, hat, sums.gamma, sums.beta, count);
      norm_backward_row(d, hat, rstd, c1, c2, count);
    }
    if (dh) add_row(dh + row * count, d, count);
    store_row(d, dx + row * count, count);
    if (a.y) branch_backward(a, row, d, dy ? dy + row * count : nullptr, sums);
  }
}

#define KILN_INSTANTIATE(T)                                                                \
  template void bias_gelu(T*, const T*, T*, std::int64_t, std::int64_t, bool);             \
  template void gelu_backward(const T*, T*, T*, std::int64_t, bool);                       \
  template void column_sums(const T*, std::int64_t, std::int64_t, std::int64_t, float*);   \
  template void residual_norm(const ResidualNorm<T>&, std::int64_t, std::int64_t);         \
  template void residual_norm_backward(const ResidualNorm<T>&, const T*, const T*, T*, T*, \
                                       const ResidualNormSums&, std::int64_t, std::int64_t)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);

}  // namespace kiln
