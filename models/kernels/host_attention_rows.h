#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "models/kernels/host_attention.h"
#include "models/kernels/lanes.h"

// What host_attention.cpp and host_attention_bf16.cpp do with single rows of scores.

namespace kiln::attention_rows {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Scratch memory of the calling thread, one block for each number; a block keeps its content until
/// it must grow.
template <typename T>
T* scratch(std::size_t number, std::int64_t count) {
  static thread_local std::vector<std::vector<T>> memory;
  if (memory.size() <= number) memory.resize(number + 1);
  auto& mine = memory[number];
  if (mine.size() < static_cast<std::size_t>(count)) mine.resize(static_cast<std::size_t>(count));
  return mine.data();
}

/// Queries at once: their scores fit in the second cache. Causal blocks are at most an eighth of the
/// queries, because a block on the diagonal computes half of its scores in vain.
template <typename T>
std::int64_t block_rows(const AttentionHead<T>& head) {
  constexpr std::int64_t kBlockScores = 64 * 1024;
  const std::int64_t fitting = std::max<std::int64_t>(16, kBlockScores / head.S / 16 * 16);
  if (!head.is_causal) return std::min(head.L, fitting);
  return std::min({head.L, fitting, std::max<std::int64_t>(16, head.L / 8 / 16 * 16)});
}

/// Keys that query `row` sees, from the first one on.
template <typename T>
std::int64_t num_keys(const AttentionHead<T>& head, std::int64_t row) {
  return head.is_causal ? row + 1 : head.S;
}

/// Calls use(begin, count, is_first) for all blocks of queries. Causal ones come from the last to
/// the first, so that the first call writes the gradients of all keys and the others add to some.
template <typename T, typename Use>
void for_each_block(const AttentionHead<T>& head, const Use& use) {
  const std::int64_t rows = block_rows(head), num_blocks = (head.L + rows - 1) / rows;
  for (std::int64_t i = 0; i < num_blocks; ++i) {
    const std::int64_t begin = (head.is_causal ? num_blocks - 1 - i : i) * rows;
    use(begin, std::min(rows, head.L - begin), i == 0);
  }
}

[[gnu::noinline]] inline float highest_of(const float* s, std::int64_t count) {
  return lane_max(count, [s](std::int64_t i) { return s[i]; });
}

/// s becomes exp(scale s - shift).
[[gnu::noinline]] inline void exponentials(float* __restrict s, float scale, float shift,
                                           std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) s[i] = exponential(scale * s[i] - shift);
}

[[gnu::noinline]] inline float sum_of(const float* s, std::int64_t count) {
  return lane_sum(count, [s](std::int64_t i) { return s[i]; });
}

/// s, times `scale` the scores of one query, becomes exp(scale s - highest); returns what the
/// weights are to be multiplied by, 0 where the query sees nothing, and writes lse.
inline float unnormalised_weights(float* s, float scale, std::int64_t count, float& lse) {
  const float highest = scale * highest_of(s, count);
  const bool is_blind = highest == -kInfinity;
  exponentials(s, scale, is_blind ? 0.0f : highest, count);
  const float sum = sum_of(s, count);
  lse = is_blind ? 0.0f : highest + std::log(sum);
  return is_blind ? 0.0f : 1.0f / sum;
}

template <typename T>
void hide(const AttentionHead<T>& head, std::int64_t row, float* s) {
  if (!head.mask) return;
  const bool* visible = head.mask + row * head.mask_row_stride;
  for (std::int64_t i = 0; i < num_keys(head, row); ++i) {
    if (!visible[i * head.mask_column_stride]) s[i] = -kInfinity;
  }
}

/// Null: nothing is dropped.
template <typename T>
const float* keep_row(const AttentionHead<T>& head, std::int64_t row) {
  if (!head.keep) return nullptr;
  static thread_local std::vector<float> keep;
  keep.resize(static_cast<std::size_t>(head.S));
  head.keep->fill(head.first_element + row * head.S, num_keys(head, row), keep.data());
  return keep.data();
}

template <typename T>
[[gnu::noinline]] float dot(const T* x, const T* y, std::int64_t count) {
  return lane_sum(count, [x, y](std::int64_t i) { return load(x[i]) * load(y[i]); });
}

/// sum_j p_j dp_j of a query, in the form that needs no second pass (Dao et al.,
/// arXiv:2205.14135).
template <typename T>
float weighted_gradient(const AttentionHead<T>& head, const T* dout, std::int64_t row) {
  return dot(static_cast<const T*>(head.out) + row * head.out_stride, dout + row * head.out_stride,
             head.d);
}

}  // namespace kiln::attention_rows
