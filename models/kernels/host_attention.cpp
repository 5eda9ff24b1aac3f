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
  // BLAS is column-major, so it computes the transpose, with b before a.
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
  const std::int64_t L = head.L, S = head.S, d = head.d, rows = block_rows(head);
  const Matrix q = as_float(head.q, head.stride, L, d, kQ);
  const Matrix k = as_float(head.k, head.stride, S, d, kK);
  const Matrix v = as_float(head.v, head.stride, S, d, kV);
  float* scores = scratch<float>(kScores, rows * S);
  for_each_block(head, [&](std::int64_t begin, std::int64_t count, bool) {
    const std::int64_t seen = num_keys(head, begin + count - 1);  // by the last of the queries
    multiply(rows_from(q, begin), false, k, true, {scores, S}, {count, seen, d}, head.scale, 0.0f);
    for (std::int64_t row = begin; row < begin + count; ++row) {
      float* s = scores + (row - begin) * S;
      const std::int64_t keys = num_keys(head, row);
      hide(head, row, s);
      scale_row(s, unnormalised_weights(s, 1.0f, keys, head.lse[row]), keys);
      if (const float* keep = keep_row(head, row)) multiply_row(s, keep, keys);
      std::fill(s + keys, s + seen, 0.0f);
    }
    T* out = head.out + begin * head.out_stride;
    const Target to = target(out, head.out_stride, count, d, kOut);
    multiply({scores, S}, false, v, false, to, {count, d, seen}, 1.0f, 0.0f);
    write_back(to, out, head.out_stride, count, d);
  });
}

template <typename T>
void attend_backward(const AttentionHead<T>& head, const T* dout, T* dq, T* dk, T* dv) {
  if constexpr (std::is_same_v<T, Bf16>) {
    if (attends_in_bf16(head)) return attend_backward_in_bf16(head, dout, dq, dk, dv);
  }
  const std::int64_t L = head.L, S = head.S, d = head.d, rows = block_rows(head);
  const Matrix q = as_float(head.q, head.stride, L, d, kQ);
  const Matrix k = as_float(head.k, head.stride, S, d, kK);
  const Matrix v = as_float(head.v, head.stride, S, d, kV);
  const Matrix given = as_float(dout, head.out_stride, L, d, kDOut);
  const Target to_q = target(dq, head.stride, L, d, kDQ);
  const Target to_k = target(dk, head.stride, S, d, kDK);
  const Target to_v = target(dv, head.stride, S, d, kDV);
  float* p = scratch<float>(kScores, rows * S);
  float* dp = scratch<float>(kDScores, rows * S);
  for_each_block(head, [&](std::int64_t begin, std::int64_t count, bool is_first) {
    const std::int64_t seen = num_keys(head, begin + count - 1);
    const float add = is_first ? 0.0f : 1.0f;
    multiply(rows_from(q, begin), false, k, true, {p, S}, {count, seen, d}, head.scale, 0.0f);
    multiply(rows_from(given, begin), false, v, true, {dp, S}, {count, seen, d}, 1.0f, 0.0f);
    for (std::int64_t row = begin; row < begin + count; ++row) {
      float *weights = p + (row - begin) * S, *dweights = dp + (row - begin) * S;
      const std::int64_t keys = num_keys(head, row);
      hide(head, row, weights);
      exponentials(weights, 1.0f, head.lse[row], keys);
      const float* keep = keep_row(head, row);
      if (keep) multiply_row(dweights, keep, keys);
      softmax_backward_row(weights, dweights, weighted_gradient(head, dout, row), keys);
      if (keep) multiply_row(weights, keep, keys);
      std::fill(weights + keys, weights + seen, 0.0f);
      std::fill(dweights + keys, dweights + seen, 0.0f);
    }
    multiply({p, S}, true, rows_from(given, begin), false, to_v, {seen, d, count}, 1.0f, add);
    multiply({dp, S}, true, rows_from(q, begin), false, to_k, {seen, d, count}, head.scale, add);
    multiply({dp, S}, false, k, false, {to_q.data + begin * to_q.stride, to_q.stride},
             {count, d, seen}, head.scale, 0.0f);
  });
  write_back(to_q, dq, head.stride, L, d);
  write_back(to_k, dk, head.stride, S, d);
  write_back(to_v, dv, head.stride, S, d);
}

template void attend_forward(const AttentionHead<float>&);
template void attend_forward(const AttentionHead<Bf16>&);
template void attend_backward(const AttentionHead<float>&, const float*, float*, float*, float*);
template void attend_backward(const AttentionHead<Bf16>&, const Bf16*, Bf16*, Bf16*, Bf16*);

}  // namespace kiln
