#if defined(__GNUC__) && !defined(__clang__)
// gcc 12 warns of its own header (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "data/images/resize_passes.h"

// Only functions that carry this may use the instructions: the program runs without them too.
// Lambdas do not inherit it.
#define KILN_VNNI __attribute__((target("avx512f,avx512vl,avx512bw,avx512vbmi,avx512vnni")))

namespace kiln {
namespace {

constexpr std::int64_t kQuad = 4;
constexpr std::int32_t kHalf = 1 << (TapTable::kPrecisionBits - 1);

// A weight is three signed digits of base 256. One instruction multiplies four bytes of pixels by
// one digit of their weights and adds all to a 32-bit sum.
constexpr int kDigits = 3;

void split(std::int32_t weight, std::int8_t* digits, std::int64_t stride) {
  for (int i = 0; i < kDigits; ++i, digits += stride) {
    *digits = static_cast<std::int8_t>(weight);
    weight = (weight - *digits) >> 8;
  }
}

// For the first pass: four successive outputs, and of each the four taps of one quad. Inputs that
// are not taps have weight 0.
struct alignas(64) ColumnQuads {
  std::uint8_t position[4][kQuad] = {};  // of a tap's red, in bytes after the block's first
  std::int8_t digits[kDigits][4][kQuad] = {};
};

class ColumnTable {
 public:
  static constexpr std::int64_t kWindow = 64;  // bytes of a line that a block may see
  static constexpr std::int64_t kMostQuads = 3;

  struct Block {
    std::int64_t first_byte = 0;
    const ColumnQuads* quads = nullptr;
  };

  static bool fits(const TapTable& columns) {
    if (columns.in_size * 3 < kWindow || num_quads(columns) > kMostQuads) return false;
    for (std::int64_t i = 0; i < columns.size(); i += 4) {
      const Span span = span_of(columns, i);
      if ((span.end - span.first) * 3 > kWindow) return false;
    }
    return true;
  }

  // The last output is repeated to make whole fours.
  explicit ColumnTable(const TapTable& columns) : num_quads_(num_quads(columns)) {
    const std::int64_t num_blocks = (columns.size() + 3) / 4;
    quads_.resize(static_cast<std::size_t>(num_blocks * num_quads_));
    blocks_.reserve(static_cast<std::size_t>(num_blocks));
    ColumnQuads* quads = quads_.data();
    for (std::int64_t i = 0; i < columns.size(); i += 4, quads += num_quads_) {
      const std::int64_t first_byte =
          std::min(span_of(columns, i).first * 3, columns.in_size * 3 - kWindow);
      for (std::int64_t output = 0; output < 4; ++output) {
        const Taps& taps = taps_of(columns, i + output);
        for (std::int64_t k = 0; k < taps.count; ++k) {
          ColumnQuads& quad = quads[k / kQuad];
          quad.position[output][k % kQuad] =
              static_cast<std::uint8_t>((taps.first + k) * 3 - first_byte);
          split(taps.weights[k], &quad.digits[0][output][k % kQuad], 4 * kQuad);
        }
      }
      blocks_.push_back({first_byte, quads});
    }
  }

  std::int64_t num_quads() const { return num_quads_; }
  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  struct Span {
    std::int64_t first, end;
  };

  static const Taps& taps_of(const TapTable& columns, std::int64_t output) {
    return columns.taps[static_cast<std::size_t>(std::min(output, columns.size() - 1))];
  }
  static Span span_of(const TapTable& columns, std::int64_t output) {
    // Outputs may run from right to left.
    const Taps &a = taps_of(columns, output), &b = taps_of(columns, output + 3);
    return {std::min(a.first, b.first), std::max(a.first + a.count, b.first + b.count)};
  }
  static std::int64_t num_quads(const TapTable& columns) {
    std::int64_t most = 0;
    for (const Taps& taps : columns.taps) most = std::max(most, (taps.count + kQuad - 1) / kQuad);
    return most;
  }

  std::int64_t num_quads_;
  std::vector<ColumnQuads> quads_;
  std::vector<Block> blocks_;
};

// For the second pass: the quads of an output, at whole fours of the lines from the first on.
class RowTable {
 public:
  using Quad = std::int8_t[kDigits][kQuad];

  struct Row {
    std::int64_t first_quad = 0;
    std::int64_t count = 0;
    const Quad* quads = nullptr;
  };

  explicit RowTable(const TapTable& rows) {
    std::size_t num_quads = 0;
    for (const Taps& taps : rows.taps)
      num_quads += static_cast<std::size_t>(taps.count / kQuad + 2);
    quads_ = std::make_unique<Quad[]>(num_quads);
    rows_.reserve(rows.taps.size());
    Quad* next = quads_.get();
    for (const Taps& taps : rows.taps) {
      const std::int64_t first = taps.first - rows.first_input();
      const std::int64_t skipped = first % kQuad;
      for (std::int64_t k = 0; k < taps.count; ++k) {
        Quad& quad = next[(skipped + k) / kQuad];
        split(taps.weights[k], &quad[0][(skipped + k) % kQuad], kQuad);
      }
      rows_.push_back({first / kQuad, (skipped + taps.count + kQuad - 1) / kQuad, next});
      next += rows_.back().count;
    }
  }

  const std::vector<Row>& rows() const { return rows_; }

 private:
  std::unique_ptr<Quad[]> quads_;
  std::vector<Row> rows_;
};

// Of 16 outputs, digit by digit.
struct Sums {
  __m512i digit[kDigits];
};

KILN_VNNI inline Sums start() {
  return {{_mm512_set1_epi32(kHalf), _mm512_setzero_si512(), _mm512_setzero_si512()}};
}

KILN_VNNI inline void add(Sums& sums, __m512i pixels, const __m512i (&weights)[kDigits]) {
  for (int i = 0; i < kDigits; ++i) {
    sums.digit[i] = _mm512_dpbusd_epi32(sums.digit[i], pixels, weights[i]);
  }
}

KILN_VNNI inline __m512i finish(const Sums& sums) {
  const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(sums.digit[2], 8), sums.digit[1]);
  const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(upper, 8), sums.digit[0]);
  return _mm512_srai_epi32(sum, TapTable::kPrecisionBits);
}

// To 8 bits; both packings saturate. Each 128 bits of the result are those of the four in turn.
KILN_VNNI inline __m512i finish(const Sums (&sums)[4]) {
  return _mm512_packus_epi16(_mm512_packs_epi32(finish(sums[0]), finish(sums[1])),
                             _mm512_packs_epi32(finish(sums[2]), finish(sums[3])));
}

// Bytes that four_lines may write beyond its results: three outputs and a gap.
constexpr std::int64_t kResultSlack = 3 * 3 * kQuad + 16;

// The results of four lines are interleaved by bytes: out [columns, 3, 4]. Each quarter of a
// register is one output: four reds, four greens, four blues, and four more that are not used.
template <int kNumQuads>
KILN_VNNI void four_lines(const std::uint8_t* const (&lines)[4], const ColumnTable& columns,
                          std::uint8_t* out) {
  const __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  const __m512i channel = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x01010101, 0x02020202, 0));
  // From [output, line, 4 channels] to [output, 3 channels, line].
  constexpr char z = 0;
  const __m128i transposed = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, z, z, z, z);
  const __m512i without_gaps =
      _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 3, 3, 3);
  for (const ColumnTable::Block& block : columns.blocks()) {
    Sums sums[4] = {start(), start(), start(), start()};
#pragma GCC unroll 3
    for (int q = 0; q < kNumQuads; ++q) {
      const __m512i quad = _mm512_load_si512(block.quads + q);
      const __m512i positions = _mm512_add_epi8(_mm512_permutexvar_epi32(spread, quad), channel);
      __m512i weights[kDigits];
#pragma GCC unroll 3
      for (int i = 0; i < kDigits; ++i) {
        weights[i] = _mm512_permutexvar_epi32(
            _mm512_add_epi32(spread, _mm512_set1_epi32(4 * (i + 1))), quad);
      }
#pragma GCC unroll 4
      for (int line = 0; line < 4; ++line) {
        const __m512i seen = _mm512_loadu_si512(lines[line] + block.first_byte);
        add(sums[line], _mm512_permutexvar_epi8(positions, seen), weights);
      }
    }
    const __m512i by_channel =
        _mm512_shuffle_epi8(finish(sums), _mm512_broadcast_i32x4(transposed));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(without_gaps, by_channel));
    out += 4 * 3 * kQuad;
  }
}

void four_lines(const std::uint8_t* const (&lines)[4], const ColumnTable& columns,
                std::uint8_t* out) {
  static_assert(ColumnTable::kMostQuads == 3);
  switch (columns.num_quads()) {
    case 1:
      return four_lines<1>(lines, columns, out);
    case 2:
      return four_lines<2>(lines, columns, out);
    default:
      return four_lines<3>(lines, columns, out);
  }
}

KILN_VNNI inline __m512i broadcast(const std::int8_t (&digits)[kQuad]) {
  std::int32_t four;
  std::memcpy(&four, digits, sizeof four);
  return _mm512_set1_epi32(four);
}

// One output line, 64 columns at a time, out of lines interleaved by fours, which are `stride`
// apart (a multiple of 256).
KILN_VNNI void combine_lines(const std::uint8_t* lines, std::int64_t stride,
                             const RowTable::Row& row, std::int64_t num_bytes, std::uint8_t* out) {
  // Packing takes four columns of each sum in turn.
  const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (std::int64_t x = 0; x < num_bytes; x += 64) {
    Sums sums[4] = {start(), start(), start(), start()};
    const std::uint8_t* from = lines + row.first_quad * stride + x * kQuad;
    for (std::int64_t q = 0; q < row.count; ++q, from += stride) {
      const RowTable::Quad& quad = row.quads[q];
      const __m512i weights[] = {broadcast(quad[0]), broadcast(quad[1]), broadcast(quad[2])};
      for (int i = 0; i < 4; ++i) add(sums[i], _mm512_loadu_si512(from + i * 64), weights);
    }
    const std::int64_t left = num_bytes - x;
    const __mmask64 kept = left >= 64 ? ~0ull : (1ull << left) - 1;
    _mm512_mask_storeu_epi8(out + x, kept, _mm512_permutexvar_epi32(in_order, finish(sums)));
  }
}

}  // namespace

bool can_resize_in_quads(const ImageView& in, const TapTable& columns) {
  static const bool has_instructions =
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
  return has_instructions && in.channels == 3 && ColumnTable::fits(columns);
}

void resize_in_quads(const ImageView& in, const TapTable& columns, const TapTable& rows,
                     std::uint8_t* out) {
  const ColumnTable column_table(columns);
  const RowTable row_table(rows);
  const std::int64_t row_bytes = columns.size() * 3;
  const std::int64_t stride = (row_bytes * kQuad + kResultSlack + 255) / 256 * 256;
  const std::int64_t first = rows.first_input();
  const std::int64_t count = rows.end_input() - first;
  thread_local std::vector<std::uint8_t> narrow;  // [count / 4, stride]
  narrow.resize(static_cast<std::size_t>((count + kQuad - 1) / kQuad * stride));
  for (std::int64_t y = 0; y < count; y += kQuad) {
    const std::uint8_t* lines[kQuad];
    for (std::int64_t i = 0; i < kQuad; ++i) {  // the last line also stands for those after it
      lines[i] = in.row(first + std::min(y + i, count - 1));
    }
    four_lines(lines, column_table, narrow.data() + y / kQuad * stride);
  }
  for (const RowTable::Row& row : row_table.rows()) {
    combine_lines(narrow.data(), stride, row, row_bytes, out);
    out += row_bytes;
  }
}

}  // namespace kiln
