#pragma once

#include <cstdint>

#include "models/kernels/dropout_site.h"
#include "models/kernels/elements.h"

namespace kiln {

/// Attention of one head of one sample over host memory, T = float or Bf16, arithmetic in fp32 but
/// for products of bf16 where the processor has them (host_attention_bf16.h):
/// out = (softmax(scale q k^T) * keep) v, with q and out [L, d], k and v [S, d]. Rows lie `stride`
/// elements apart, so that a head is read and written where the packed matrix has it.
///
/// Where `is_causal` (L = S), query l sees the keys 0 .. l: blocks of scores above the diagonal are
/// not computed, and a mask hides further keys.
///
/// Scores exist for a block of queries at a time and are not kept; backward computes them again
/// from lse, the logarithm of each row's sum of exponentials.
template <typename T>
struct AttentionHead {
  std::int64_t L = 0, S = 0, d = 0;
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  std::int64_t stride = 0;  // of q, k, v and their gradients
  T* out = nullptr;
  std::int64_t out_stride = 0;  // of out and its gradient
  float* lse = nullptr;         // [L]
  float scale = 1.0f;
  bool is_causal = false;
  const bool* mask = nullptr;  // true takes part; null: all do
  std::int64_t mask_row_stride = 0, mask_column_stride = 0;
  const DropoutSite* keep = nullptr;  // of element first_element + l * S + s
  std::int64_t first_element = 0;
};
template <typename T>
void attend_forward(const AttentionHead<T>& head);
/// Writes dq, dk and dv, laid out as q, k and v.
template <typename T>
void attend_backward(const AttentionHead<T>& head, const T* dout, T* dq, T* dk, T* dv);

}  // namespace kiln
