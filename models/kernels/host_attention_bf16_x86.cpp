#include <ATen/native/CPUBlas.h>
#include <immintrin.h>

#include "models/kernels/host_attention_bf16.h"
#include "models/kernels/host_attention_rows.h"
#include "models/kernels/processor.h"

namespace kiln {
namespace {

using namespace attention_rows;

std::int64_t even(std::int64_t count) { return (count + 1) / 2 * 2; }

/// Rows of a row-major matrix, `stride` apart.
struct Rows {
  const Bf16* data;
  std::int64_t stride;
};

// The right side of a product [m, k] [k, n] is packed: two rows interleaved, [k / 2, n, 2]. An odd
// last row is beside zeros.
struct Packed {
  const Bf16* data;
  std::int64_t k, n;
  std::int64_t stride = n;  // of rows of pairs

  Packed first_rows(std::int64_t count) const { return {data, even(count), n, stride}; }
  Packed first_columns(std::int64_t count) const { return {data, k, count, stride}; }
};

/// c [m, b.n] = a b, or c += a b; a [m, b.k]. Rows of c are c_stride apart.
void multiply(Rows a, Packed b, float* c, std::int64_t c_stride, std::int64_t m, bool is_added) {
  at::native::cpublas::brgemm(m, b.n, b.k, a.stride, b.stride, c_stride, is_added,
                              reinterpret_cast<const at::BFloat16*>(a.data),
                              reinterpret_cast<const at::BFloat16*>(b.data), c);
}

// to [columns, rows] of what is at from [rows, columns].
template <typename Word, typename Tile>
void transpose(const Word* from, std::int64_t stride, std::int64_t rows, std::int64_t columns,
               Word* to, std::int64_t to_stride, std::int64_t side, const Tile& tile) {
  const std::int64_t whole_rows = rows / side * side, whole_columns = columns / side * side;
  for (std::int64_t r = 0; r < whole_rows; r += side) {
    for (std::int64_t c = 0; c < whole_columns; c += side) {
      tile(from + r * stride + c, to + c * to_stride + r);
    }
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) {
      to[c * to_stride + r] = from[r * stride + c];
    }
  }
}

__m128i load_row(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
void store_row(void* to, __m128i row) { _mm_storeu_si128(static_cast<__m128i*>(to), row); }

/// x^T of x [rows, columns], packed: k = columns (even), n = rows. A pair of neighbours stays one.
Packed pack_transposed(Rows x, std::int64_t rows, std::int64_t columns, std::size_t memory) {
  Bf16* to = scratch<Bf16>(memory, rows * columns);
  const auto* words = reinterpret_cast<const std::int32_t*>(x.data);
  auto* out = reinterpret_cast<std::int32_t*>(to);
  const std::int64_t stride = x.stride / 2;
  transpose(words, stride, rows, columns / 2, out, rows, 4,
            [&](const std::int32_t* from, std::int32_t* there) {
              const __m128i a = load_row(from), b = load_row(from + stride);
              const __m128i c = load_row(from + 2 * stride), d = load_row(from + 3 * stride);
              const __m128i ab_low = _mm_unpacklo_epi32(a, b), ab_high = _mm_unpackhi_epi32(a, b);
              const __m128i cd_low = _mm_unpacklo_epi32(c, d), cd_high = _mm_unpackhi_epi32(c, d);
              store_row(there, _mm_unpacklo_epi64(ab_low, cd_low));
              store_row(there + rows, _mm_unpackhi_epi64(ab_low, cd_low));
              store_row(there + 2 * rows, _mm_unpacklo_epi64(ab_high, cd_high));
              store_row(there + 3 * rows, _mm_unpackhi_epi64(ab_high, cd_high));
            });
  return {to, columns, rows};
}

/// x [rows, columns] itself, packed: k = rows, made even, n = columns.
Packed pack(Rows x, std::int64_t rows, std::int64_t columns, std::size_t memory) {
  Bf16* to = scratch<Bf16>(memory, even(rows) * columns);
  for (std::int64_t row = 0; row < rows; row += 2) {
    const Bf16* first = x.data + row * x.stride;
    Bf16* out = to + row * columns;
    if (row + 1 < rows) {
      const Bf16* second = first + x.stride;
      for (std::int64_t i = 0; i < columns; ++i) {
        out[2 * i] = first[i];
        out[2 * i + 1] = second[i];
      }
    } else {
      for (std::int64_t i = 0; i < columns; ++i) {
        out[2 * i] = first[i];
        out[2 * i + 1] = 0;
      }
    }
  }
  return {to, even(rows), columns};
}

/// x^T [columns, even(rows)] of x [rows, columns]; an odd last row is beside zeros.
Rows transposed(Rows x, std::int64_t rows, std::int64_t columns, std::size_t memory) {
  const std::int64_t width = even(rows), stride = x.stride;
  Bf16* to = scratch<Bf16>(memory, columns * width);
  transpose(x.data, stride, rows, columns, to, width, 8, [&](const Bf16* from, Bf16* there) {
    __m128i in[8], pairs[8], fours[8];
    for (int i = 0; i < 8; ++i) in[i] = load_row(from + i * stride);
    for (int i = 0; i < 4; ++i) {  // pairs[2 i], pairs[2 i + 1]: columns 0-3 and 4-7 of two rows
      pairs[2 * i] = _mm_unpacklo_epi16(in[2 * i], in[2 * i + 1]);
      pairs[2 * i + 1] = _mm_unpackhi_epi16(in[2 * i], in[2 * i + 1]);
    }
    for (int half = 0; half < 2; ++half) {  // of rows: 0-3, 4-7
      for (int i = 0; i < 2; ++i) {
        fours[4 * half + 2 * i] = _mm_unpacklo_epi32(pairs[4 * half + i], pairs[4 * half + 2 + i]);
        fours[4 * half + 2 * i + 1] =
            _mm_unpackhi_epi32(pairs[4 * half + i], pairs[4 * half + 2 + i]);
      }
    }
    for (int i = 0; i < 4; ++i) {
      store_row(there + 2 * i * width, _mm_unpacklo_epi64(fours[i], fours[4 + i]));
      store_row(there + (2 * i + 1) * width, _mm_unpackhi_epi64(fours[i], fours[4 + i]));
    }
  });
  for (std::int64_t c = 0; width > rows && c < columns; ++c) to[c * width + rows] = 0;
  return {to, width};
}

void round_rows(const float* from, std::int64_t rows, std::int64_t d, Bf16* to,
                std::int64_t stride) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = 0; i < d; ++i) store(to[row * stride + i], from[row * d + i]);
  }
}

[[gnu::noinline]] void round_weights(const float* __restrict p, float by,
                                     const float* __restrict keep, Bf16* __restrict out,
                                     std::int64_t count) {
  if (keep) {
    for (std::int64_t i = 0; i < count; ++i) store(out[i], by * p[i] * keep[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) store(out[i], by * p[i]);
  }
}

// ds = scale p (dp - delta): the gradient of q k^T, dp being that of the weights before dropout.
[[gnu::noinline]] void round_score_gradients(const float* __restrict p, const float* __restrict dp,
                                             const float* __restrict keep, float delta, float scale,
                                             Bf16* __restrict out, std::int64_t count) {
  if (keep) {
    for (std::int64_t i = 0; i < count; ++i) {
      store(out[i], scale * p[i] * (dp[i] * keep[i] - delta));
    }
  } else {
    for (std::int64_t i = 0; i < count; ++i) store(out[i], scale * p[i] * (dp[i] - delta));
  }
}

// Numbers of scratch memory.
enum Floats : std::size_t { kScores, kDScores, kOut, kDK, kDV };
enum Halves : std::size_t {
  kWeights,
  kDWeights,
  kWeightsT,
  kDWeightsT,
  kKeysT,
  kValuesT,
  kKeys,
  kValues,
  kQueries,
  kDOut
};

}  // namespace

bool attends_in_bf16(const AttentionHead<Bf16>& head) {
  return multiplies_bf16() && head.d % 2 == 0 && head.stride % 2 == 0;
}

void attend_forward_in_bf16(const AttentionHead<Bf16>& head) {
  const std::int64_t S = head.S, d = head.d, rows = block_rows(head), width = even(S);
  const Packed keys = pack_transposed({head.k, head.stride}, S, d, kKeysT);
  const Packed values = pack({head.v, head.stride}, S, d, kValues);
  float* scores = scratch<float>(kScores, rows * S);
  float* out = scratch<float>(kOut, rows * d);
  Bf16* weights = scratch<Bf16>(kWeights, rows * width);
  for_each_block(head, [&](std::int64_t begin, std::int64_t count, bool) {
    const std::int64_t seen = num_keys(head, begin + count - 1);  // by the last of the queries
    multiply({head.q + begin * head.stride, head.stride}, keys.first_columns(seen), scores, S,
             count, false);
    for (std::int64_t row = begin; row < begin + count; ++row) {
      float* s = scores + (row - begin) * S;
      Bf16* to = weights + (row - begin) * width;
      const std::int64_t num = num_keys(head, row);
      hide(head, row, s);
      const float by = unnormalised_weights(s, head.scale, num, head.lse[row]);
      round_weights(s, by, keep_row(head, row), to, num);
      std::fill(to + num, to + even(seen), Bf16{});
    }
    multiply({weights, width}, values.first_rows(seen), out, d, count, false);
    round_rows(out, count, d, head.out + begin * head.out_stride, head.out_stride);
  });
  at::native::cpublas::brgemm_release();
}

void attend_backward_in_bf16(const AttentionHead<Bf16>& head, const Bf16* dout, Bf16* dq, Bf16* dk,
                             Bf16* dv) {
  const std::int64_t S = head.S, d = head.d, rows = block_rows(head), width = even(S);
  const Packed keys_t = pack_transposed({head.k, head.stride}, S, d, kKeysT);
  const Packed values_t = pack_transposed({head.v, head.stride}, S, d, kValuesT);
  const Packed keys = pack({head.k, head.stride}, S, d, kKeys);
  float* p = scratch<float>(kScores, rows * S);
  float* dp = scratch<float>(kDScores, rows * S);
  float* to_q = scratch<float>(kOut, rows * d);
  float* to_k = scratch<float>(kDK, S * d);
  float* to_v = scratch<float>(kDV, S * d);
  Bf16* weights = scratch<Bf16>(kWeights, rows * width);
  Bf16* dweights = scratch<Bf16>(kDWeights, rows * width);
  for_each_block(head, [&](std::int64_t begin, std::int64_t count, bool is_first) {
    const std::int64_t seen = num_keys(head, begin + count - 1);
    const Rows queries = {head.q + begin * head.stride, head.stride};
    const Rows given = {dout + begin * head.out_stride, head.out_stride};
    multiply(queries, keys_t.first_columns(seen), p, S, count, false);
    multiply(given, values_t.first_columns(seen), dp, S, count, false);
    for (std::int64_t row = begin; row < begin + count; ++row) {
      const std::int64_t i = row - begin, num = num_keys(head, row);
      Bf16 *to = weights + i * width, *dto = dweights + i * width;
      hide(head, row, p + i * S);
      exponentials(p + i * S, head.scale, head.lse[row], num);
      const float* keep = keep_row(head, row);
      round_weights(p + i * S, 1.0f, keep, to, num);
      round_score_gradients(p + i * S, dp + i * S, keep, weighted_gradient(head, dout, row),
                            head.scale, dto, num);
      std::fill(to + num, to + even(seen), Bf16{});
      std::fill(dto + num, dto + even(seen), Bf16{});
    }
    multiply({dweights, width}, keys.first_rows(seen), to_q, d, count, false);
    round_rows(to_q, count, d, dq + begin * head.stride, head.stride);
    multiply(transposed({weights, width}, count, seen, kWeightsT), pack(given, count, d, kDOut),
             to_v, d, seen, !is_first);
    multiply(transposed({dweights, width}, count, seen, kDWeightsT),
             pack(queries, count, d, kQueries), to_k, d, seen, !is_first);
  });
  round_rows(to_k, S, d, dk, head.stride);
  round_rows(to_v, S, d, dv, head.stride);
  at::native::cpublas::brgemm_release();
}

}  // namespace kiln
