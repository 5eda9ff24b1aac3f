#pragma once

#include <cstdint>

#include "models/kernels/dropout_site.h"
#include "models/kernels/elements.h"

// Element-wise passes of the layers over host memory, several operations in one. Plain pointers and
// T = float or Bf16; arithmetic in fp32. Callers cut the work into rows; results do not depend on
// where they cut.

namespace kiln {

/// u += bias (null: none), then a = gelu(u); u and a [rows, cols].
template <typename T>
void bias_gelu(T* u, const T* bias, T* a, std::int64_t rows, std::int64_t cols, bool is_tanh);

/// d becomes d * gelu'(u), and a = gelu(u) again.
template <typename T>
void gelu_backward(const T* u, T* d, T* a, std::int64_t count, bool is_tanh);

/// sums[j] = sum over rows of x[row, j], j in [0, cols); rows are `stride` elements apart.
template <typename T>
void column_sums(const T* x, std::int64_t stride, std::int64_t rows, std::int64_t cols,
                 float* sums);

/// h = x + gate * keep * (y + bias), n = (h - mean) * rstd * (gamma + gamma_offset) + beta over
/// rows of D = cols elements. Rows come in groups (the tokens of a sample), whose gate, gamma and
/// beta lie gate_stride and affine_stride elements apart; 0: all groups share one.
///
/// Null pointers leave their part out: y (h is x and not written), bias, gate, keep, gamma (1),
/// beta (0), n (no norm).
template <typename T>
struct ResidualNorm {
  std::int64_t cols = 0;
  std::int64_t rows_per_group = 0;
  const T* x = nullptr;
  const T* y = nullptr;
  const T* bias = nullptr;
  const T* gate = nullptr;
  std::int64_t gate_stride = 0;
  const DropoutSite* keep = nullptr;  // of element row * cols + j
  const T* gamma = nullptr;
  const T* beta = nullptr;
  std::int64_t affine_stride = 0;
  float gamma_offset = 0.0f;
  float eps = 0.0f;
  T* h = nullptr;
  T* n = nullptr;
  float* mean = nullptr;  // [rows]
  float* rstd = nullptr;
};
template <typename T>
void residual_norm(const ResidualNorm<T>& a, std::int64_t row_begin, std::int64_t row_end);

/// Sums over rows, [cols] each; null: not wanted.
struct ResidualNormSums {
  float* gamma = nullptr;
  float* beta = nullptr;
  float* bias = nullptr;
  float* gate = nullptr;
};
/// Gradients: dx of x; dy of y (null where it equals dx); to `sums` the rows' shares are added.
/// `a` as in forward, with a.h the stored h (x where y is null); dn and dh may be null.
template <typename T>
void residual_norm_backward(const ResidualNorm<T>& a, const T* dn, const T* dh, T* dx, T* dy,
                            const ResidualNormSums& sums, std::int64_t row_begin,
                            std::int64_t row_end);

}  // namespace kiln
