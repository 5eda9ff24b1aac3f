#include "models/kernels/host_attention.h"

#include <array>

#include "models/kernels/host_attention_bf16.h"
#include "models/kernels/host_attention_rows.h"

// The BLAS that LibTorch contains. Within a parallel region it uses one thread.
extern "C" void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* lda,
                       const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace kiln {
namespace {

using namespace attention_rows;

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

enum Scratch : std::size_t { kScores, kDScores, kQ, kK, kV, kOut, kDOut, kDQ, kDK, kDV };

/// Rows as fp32: themselves, or a copy.
Matrix as_float(const float* x, std::int64_t stride, std::int64_t, std::int64_t, Scratch) {
  return {x, stride};
}
Matrix as_float(const Bf16* x, std::int64_t stride, std::int64_t rows, std::int64_t d,
                Scratch index) {
  float* copy = scratch<float>(index, rows * d);
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
  return {scratch<float>(index, rows * d), d};
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

[[gnu::noinline]] void scale_row(float* __restrict s, float by, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) s[i] *= by;
}
[[gnu::noinline]] void multiply_row(float* __restrict s, const float* __restrict by,
                                    std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) s[i] *= by[i];
}

// ds = p * (dp - delta), dp being the gradient of the weights before dropout.
[[gnu::noinline]] void softmax_backward_row(const float* __restrict p, float* __restrict dp,
                                            float delta, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dp[i] = p[i] * (dp[i] - delta);
}

}  // namespace

template <typename T>
void attend_forward(const AttentionHead<T>& head) {
  if constexpr (std::is_same_v<T, Bf16>) {
    if (attends_in_bf16(head)) return attend_forward_in_bf16(head);
  }
  const std::int64_t L = head.L, S = head.S, d = head.d, rows = block_rows(L, S);
  const Matrix q = as_float(head.q, head.stride, L, d, kQ);
  const Matrix k = as_float(head.k, head.stride, S, d, kK);
  const Matrix v = as_float(head.v, head.stride, S, d, kV);
  float* scores = scratch<float>(kScores, rows * S);
  for (std::int64_t begin = 0; begin < L; begin += rows) {
    const std::int64_t count = std::min(rows, L - begin);
    multiply(rows_from(q, begin), false, k, true, {scores, S}, {count, S, d}, head.scale, 0.0f);
    for (std::int64_t i = 0; i < count; ++i) {
      float* s = scores + i * S;
      hide(head, begin + i, s);
      scale_row(s, unnormalised_weights(s, 1.0f, S, head.lse[begin + i]), S);
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
  if constexpr (std::is_same_v<T, Bf16>) {
    if (attends_in_bf16(head)) return attend_backward_in_bf16(head, dout, dq, dk, dv);
  }
  const std::int64_t L = head.L, S = head.S, d = head.d, rows = block_rows(L, S);
  const Matrix q = as_float(head.q, head.stride, L, d, kQ);
  const Matrix k = as_float(head.k, head.stride, S, d, kK);
  const Matrix v = as_float(head.v, head.stride, S, d, kV);
  const Matrix given = as_float(dout, head.out_stride, L, d, kDOut);
  const Target to_q = target(dq, head.stride, L, d, kDQ);
  const Target to_k = target(dk, head.stride, S, d, kDK);
  const Target to_v = target(dv, head.stride, S, d, kDV);
  float* p = scratch<float>(kScores, rows * S);
  float* dp = scratch<float>(kDScores, rows * S);
  for (std::int64_t begin = 0; begin < L; begin += rows) {
    const std::int64_t count = std::min(rows, L - begin);
    const float add = begin == 0 ? 0.0f : 1.0f;
    multiply(rows_from(q, begin), false, k, true, {p, S}, {count, S, d}, head.scale, 0.0f);
    multiply(rows_from(given, begin), false, v, true, {dp, S}, {count, S, d}, 1.0f, 0.0f);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = begin + i;
      hide(head, row, p + i * S);
      exponentials(p + i * S, 1.0f, head.lse[row], S);
      const float* keep = keep_row(head, row);
      if (keep) multiply_row(dp + i * S, keep, S);
      const float delta = weighted_gradient(head, dout, row);
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
