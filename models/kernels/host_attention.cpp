#include "models/kernels/host_attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

// The BLAS that LibTorch contains. Within a parallel region it uses one thread.
extern "C" void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* lda,
                       const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace kiln {
namespace {

/// A row-major matrix within another.
struct Matrix {
  const float* data;
  std::int64_t stride;
};
struct Target {
  float* data;
  std::int64_t stride;
};

/// c [m, n] = alpha op(a) op(b) + beta c, op transposing where asked.
void multiply(Matrix a, bool is_a_transposed, Matrix b, bool is_b_transposed, Target c,
              std::array<std::int64_t, 3> mnk, float alpha, float beta) {
  // BLAS counts by columns: it computes the transpose, b before a.
  const char trans_a = is_a_transposed ? 'T' : 'N', trans_b = is_b_transposed ? 'T' : 'N';
  const auto m = static_cast<int>(mnk[0]), n = static_cast<int>(mnk[1]),
             k = static_cast<int>(mnk[2]);
  const auto lda = static_cast<int>(a.stride), ldb = static_cast<int>(b.stride),
             ldc = static_cast<int>(c.stride);
  sgemm_(&trans_b, &trans_a, &n, &m, &k, &alpha, b.data, &ldb, a.data, &lda, &beta, c.data, &ldc);
}

// Scores of a block of queries: small enough for the second cache.
constexpr std::int64_t kBlockScores = 64 * 1024;

std::int64_t block_rows(std::int64_t L, std::int64_t S) {
  return std::min(L, std::max<std::int64_t>(16, kBlockScores / S / 16 * 16));
}

enum Scratch { kScores, kDScores, kKeep, kQ, kK, kV, kOut, kDOut, kDQ, kDK, kDV, kNumScratch };

float* scratch(Scratch index, std::int64_t count) {
  static thread_local std::vector<float> memory[kNumScratch];
  auto& mine = memory[index];
  if (mine.size() < static_cast<std::size_t>(count)) mine.resize(static_cast<std::size_t>(count));
  return mine.data();
}

/// Rows as fp32: themselves, or a copy.
Matrix as_float(const float* x, std::int64_t stride, std::int64_t, std::int64_t, Scratch) {
  return {x, stride};
}
Matrix as_float(const Bf16* x, std::int64_t stride, std::int64_t rows, std::int64_t d,
                Scratch index) {
  float* copy = scratch(index, rows * d);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = 0; i < d; ++i) copy[row * d + i] = load(x[row * stride + i]);
  }
  return {copy, d};
}
/// Where a result is computed: in place, or in memory that write_back() rounds from.
Target target(float* x, std::int64_t stride, std::int64_t, std::int64_t, Scratch) {
  return {x, stride};
}
Target target(Bf16*, std::int64_t, std::int64_t rows, std::int64_t d, Scratch index) {
  return {scratch(index, rows * d), d};
}
void write_back(Target, float*, std::int64_t, std::int64_t, std::int64_t) {}
void write_back(Target from, Bf16* to, std::int64_t stride, std::int64_t rows, std::int64_t d) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = 0; i < d; ++i) {
      store(to[row * stride + i], from.data[row * from.stride + i]);
    }
  }
}

Matrix rows_from(Matrix x, std::int64_t row) { return {x.data + row * x.stride, x.stride}; }

constexpr std::int64_t kLanes = 16;

[[gnu::noinline]] float highest_of(const float* __restrict s, std::int64_t count) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  const std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] = s[i + j] > lanes[j] ? s[i + j] : lanes[j];
  }
  for (std::int64_t i = whole; i < count; ++i) lanes[0] = std::max(lanes[0], s[i]);
  return *std::max_element(lanes, lanes + kLanes);
}

// s becomes exp(s - shift).
[[gnu::noinline]] void exponentials(float* __restrict s, float shift, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) s[i] = exponential(s[i] - shift);
}

[[gnu::noinline]] float sum_of(const float* __restrict s, std::int64_t count) {
  float lanes[kLanes] = {};
  const std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += s[i + j];
  }
  for (std::int64_t i = whole; i < count; ++i) lanes[i - whole] += s[i];
  for (std::int64_t step = kLanes / 2; step > 0; step /= 2) {
    for (std::int64_t j = 0; j < step; ++j) lanes[j] += lanes[j + step];
  }
  return lanes[0];
}

[[gnu::noinline]] void scale_row(float* __restrict s, float by, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) s[i] *= by;
}
[[gnu::noinline]] void multiply_row(float* __restrict s, const float* __restrict by,
                                    std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) s[i] *= by[i];
}

template <typename T>
void hide(const AttentionHead<T>& head, std::int64_t row, float* s) {
  if (!head.mask) return;
  const bool* visible = head.mask + row * head.mask_row_stride;
  for (std::int64_t i = 0; i < head.S; ++i) {
    if (!visible[i * head.mask_column_stride]) s[i] = -std::numeric_limits<float>::infinity();
  }
}

template <typename T>
const float* keep_row(const AttentionHead<T>& head, std::int64_t row) {
  if (!head.keep) return nullptr;
  float* keep = scratch(kKeep, head.S);
  head.keep->fill(head.first_element + row * head.S, head.S, keep);
  return keep;
}

// ds = p * (dp - delta), dp being the gradient of the weights before dropout.
[[gnu::noinline]] void softmax_backward_row(const float* __restrict p, float* __restrict dp,
                                            float delta, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dp[i] = p[i] * (dp[i] - delta);
}

template <typename T>
float dot(const T* __restrict x, const T* __restrict y, std::int64_t count) {
  float total = 0.0f;
  for (std::int64_t i = 0; i < count; ++i) total += load(x[i]) * load(y[i]);
  return total;
}

}  // namespace

template <typename T>
void attend_forward(const AttentionHead<T>& head) {
  const std::int64_t L = head.L, S = head.S, d = head.d, rows = block_rows(L, S);
  const Matrix q = as_float(head.q, head.stride, L, d, kQ);
  const Matrix k = as_float(head.k, head.stride, S, d, kK);
  const Matrix v = as_float(head.v, head.stride, S, d, kV);
  float* scores = scratch(kScores, rows * S);
  for (std::int64_t begin = 0; begin < L; begin += rows) {
    const std::int64_t count = std::min(rows, L - begin);
    multiply(rows_from(q, begin), false, k, true, {scores, S}, {count, S, d}, head.scale, 0.0f);
    for (std::int64_t i = 0; i < count; ++i) {
      float* s = scores + i * S;
      hide(head, begin + i, s);
      const float highest = highest_of(s, S);
      // A row that sees nothing: all weights 0.
      const bool is_blind = highest == -std::numeric_limits<float>::infinity();
      exponentials(s, is_blind ? 0.0f : highest, S);
      const float sum = sum_of(s, S);
      head.lse[begin + i] = is_blind ? 0.0f : highest + std::log(sum);
      scale_row(s, is_blind ? 0.0f : 1.0f / sum, S);
      if (const float* keep = keep_row(head, begin + i)) multiply_row(s, keep, S);
    }
    T* out = head.out + begin * head.out_stride;
    const Target to = target(out, head.out_stride, count, d, kOut);
    multiply({scores, S}, false, v, false, to, {count, d, S}, 1.0f, 0.0f);
    write_back(to, out, head.out_stride, count, d);
  }
}

template <typename T>
void attend_backward(const AttentionHead<T>& head, const T* dout, T* dq, T* dk, T* dv) {
  const std::int64_t L = head.L, S = head.S, d = head.d, rows = block_rows(L, S);
  const Matrix q = as_float(head.q, head.stride, L, d, kQ);
  const Matrix k = as_float(head.k, head.stride, S, d, kK);
  const Matrix v = as_float(head.v, head.stride, S, d, kV);
  const Matrix given = as_float(dout, head.out_stride, L, d, kDOut);
  const Target to_q = target(dq, head.stride, L, d, kDQ);
  const Target to_k = target(dk, head.stride, S, d, kDK);
  const Target to_v = target(dv, head.stride, S, d, kDV);
  float* p = scratch(kScores, rows * S);
  float* dp = scratch(kDScores, rows * S);
  for (std::int64_t begin = 0; begin < L; begin += rows) {
    const std::int64_t count = std::min(rows, L - begin);
    const float add = begin == 0 ? 0.0f : 1.0f;
    multiply(rows_from(q, begin), false, k, true, {p, S}, {count, S, d}, head.scale, 0.0f);
    multiply(rows_from(given, begin), false, v, true, {dp, S}, {count, S, d}, 1.0f, 0.0f);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = begin + i;
      hide(head, row, p + i * S);
      exponentials(p + i * S, head.lse[row], S);
      const float* keep = keep_row(head, row);
      if (keep) multiply_row(dp + i * S, keep, S);
      // sum_j p_j dp_j, in the form that needs no second pass (Dao et al., arXiv:2205.14135).
      const float delta = dot(static_cast<const T*>(head.out) + row * head.out_stride,
                              dout + row * head.out_stride, d);
      softmax_backward_row(p + i * S, dp + i * S, delta, S);
      if (keep) multiply_row(p + i * S, keep, S);
    }
    multiply({p, S}, true, rows_from(given, begin), false, to_v, {S, d, count}, 1.0f, add);
    multiply({dp, S}, true, rows_from(q, begin), false, to_k, {S, d, count}, head.scale, add);
    multiply({dp, S}, false, k, false, {to_q.data + begin * to_q.stride, to_q.stride},
             {count, d, S}, head.scale, 0.0f);
  }
  write_back(to_q, dq, head.stride, L, d);
  write_back(to_k, dk, head.stride, S, d);
  write_back(to_v, dv, head.stride, S, d);
}

template void attend_forward(const AttentionHead<float>&);
template void attend_forward(const AttentionHead<Bf16>&);
template void attend_backward(const AttentionHead<float>&, const float*, float*, float*, float*);
template void attend_backward(const AttentionHead<Bf16>&, const Bf16*, Bf16*, Bf16*, Bf16*);

}  // namespace kiln
