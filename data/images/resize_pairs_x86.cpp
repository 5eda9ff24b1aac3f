#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "data/images/resize_passes.h"

namespace kiln {
namespace {

constexpr std::int32_t kHalf = 1 << (TapTable::kPrecisionBits - 1);

// Weights split, w = high * 2^11 + low, two successive ones side by side as 16-bit integers (an odd
// last one beside 0), so that one multiply-add instruction takes two taps and sums stay exact.
class PairTable {
 public:
  static constexpr int kLowBits = 11;

  struct Pairs {
    std::int64_t first = 0;  // input
    std::int64_t count = 0;  // of taps
    const std::int32_t* high = nullptr;
    const std::int32_t* low = nullptr;
  };

  explicit PairTable(const TapTable& table) {
    std::int64_t most = 0;
    for (const Taps& taps : table.taps) most = std::max(most, (taps.count + 1) / 2);
    words_.resize(static_cast<std::size_t>(table.size() * most * 2));
    std::int32_t* high = words_.data();
    for (const Taps& taps : table.taps) {
      std::int32_t* low = high + most;
      for (std::int64_t k = 0; k < taps.count; k += 2) {
        const std::int32_t a = taps.weights[k];
        const std::int32_t b = k + 1 < taps.count ? taps.weights[k + 1] : 0;
        high[k / 2] = side_by_side(a >> kLowBits, b >> kLowBits);
        low[k / 2] = side_by_side(a & kLowMask, b & kLowMask);
      }
      outputs_.push_back({taps.first, taps.count, high, low});
      high = low + most;
    }
  }

  const std::vector<Pairs>& outputs() const { return outputs_; }

 private:
  static constexpr std::int32_t kLowMask = (1 << kLowBits) - 1;

  static std::int32_t side_by_side(std::int32_t first, std::int32_t second) {
    return static_cast<std::int32_t>((static_cast<std::uint32_t>(second) << 16) |
                                     (static_cast<std::uint32_t>(first) & 0xFFFFu));
  }

  std::vector<std::int32_t> words_;
  std::vector<Pairs> outputs_;
};

// (high * 2^11 + low) / 2^22, 32 bits each.
__m256i finish(__m256i high, __m256i low) {
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, PairTable::kLowBits), low);
  return _mm256_srai_epi32(sum, TapTable::kPrecisionBits);
}

__m256i load_from_both(const std::uint8_t* line0, const std::uint8_t* line1) {
  return _mm256_set_m128i(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(line1)),
                          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(line0)));
}

// Bytes that two_lines_rgb reads beyond the end of a line, and writes beyond that of a result.
constexpr std::int64_t kLineSlack = 5;
constexpr std::int64_t kResultSlack = 1;

// Each half of a register is one line: two pixels r0 g0 b0 r1 g1 b1 become the 16-bit pairs
// (r0 r1) (g0 g1) (b0 b1) (0 0), which one multiply-add turns into three sums.
void two_lines_rgb(const std::uint8_t* in0, const std::uint8_t* in1, const PairTable& columns,
                   std::uint8_t* out0, std::uint8_t* out1) {
  constexpr char z = -1;  // a zero byte
  const __m256i to_pairs =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, z, 3, z, 1, z, 4, z, 2, z, 5, z, z, z, z, z));
  for (const PairTable::Pairs& pairs : columns.outputs()) {
    __m256i high = _mm256_setzero_si256();
    __m256i low = _mm256_set1_epi32(kHalf);
    const std::uint8_t* from0 = in0 + pairs.first * 3;
    const std::uint8_t* from1 = in1 + pairs.first * 3;
    for (std::int64_t k = 0; k < pairs.count; k += 2, from0 += 6, from1 += 6) {
      const __m256i pixels = _mm256_shuffle_epi8(load_from_both(from0, from1), to_pairs);
      high =
          _mm256_add_epi32(high, _mm256_madd_epi16(pixels, _mm256_set1_epi32(pairs.high[k / 2])));
      low = _mm256_add_epi32(low, _mm256_madd_epi16(pixels, _mm256_set1_epi32(pairs.low[k / 2])));
    }
    const __m256i sums = finish(high, low);
    // Both packings saturate. The fourth byte is overwritten by the next pixel.
    const __m256i words = _mm256_packs_epi32(sums, sums);
    const __m256i bytes = _mm256_packus_epi16(words, words);
    const std::int32_t rgb0 = _mm256_extract_epi32(bytes, 0);
    const std::int32_t rgb1 = _mm256_extract_epi32(bytes, 4);
    std::memcpy(out0, &rgb0, 4);
    std::memcpy(out1, &rgb1, 4);
    out0 += 3;
    out1 += 3;
  }
}

// Lines [first, first + count) of `in`; results are `stride` bytes apart.
void resize_lines_rgb(const ImageView& in, std::int64_t first, std::int64_t count,
                      const PairTable& columns, std::int64_t stride, std::uint8_t* out) {
  const std::uint8_t* end = in.row(in.height - 1) + in.row_bytes();
  std::vector<std::uint8_t> copies[2];  // of lines at the image's end, with room behind
  for (std::int64_t y = 0; y < count; y += 2) {
    const std::uint8_t* from[2];
    std::uint8_t* to[2];
    for (std::size_t i = 0; i < 2; ++i) {  // an odd last line is made twice
      const std::int64_t line = std::min(y + static_cast<std::int64_t>(i), count - 1);
      from[i] = in.row(first + line);
      to[i] = out + line * stride;
      if (end - from[i] < in.row_bytes() + kLineSlack) {
        copies[i].assign(from[i], from[i] + in.row_bytes());
        copies[i].resize(static_cast<std::size_t>(in.row_bytes() + kLineSlack));
        from[i] = copies[i].data();
      }
    }
    two_lines_rgb(from[0], from[1], columns, to[0], to[1]);
  }
}

// One line of any number of channels.
void resize_line(const std::uint8_t* in, std::int64_t channels, const TapTable& columns,
                 std::uint8_t* out) {
  for (const Taps& taps : columns.taps) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::uint8_t* from = in + taps.first * channels + c;
      std::int32_t sum = kHalf;
      for (std::int64_t k = 0; k < taps.count; ++k) sum += from[k * channels] * taps.weights[k];
      *out++ = static_cast<std::uint8_t>(std::clamp(sum >> TapTable::kPrecisionBits, 0, 255));
    }
  }
}

// One output line out of the lines of its taps: `lines` is the first of them, `stride` apart (a
// multiple of 16). Bytes of two lines interleaved are the 16-bit pairs that one multiply-add takes;
// 16 columns at a time. An odd last line is paired with itself at weight 0.
void combine_lines(const std::uint8_t* lines, std::int64_t stride, const PairTable::Pairs& pairs,
                   std::int64_t num_bytes, std::uint8_t* out) {
  for (std::int64_t x = 0; x < num_bytes; x += 16) {
    __m256i high0 = _mm256_setzero_si256(), high1 = high0;
    __m256i low0 = _mm256_set1_epi32(kHalf), low1 = low0;
    for (std::int64_t k = 0; k < pairs.count; k += 2) {
      const std::int64_t next = k + 1 < pairs.count ? k + 1 : k;
      const auto load = [&](std::int64_t line) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(lines + line * stride + x));
      };
      const __m128i a = load(k), b = load(next);
      const __m256i left = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
      const __m256i right = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
      const __m256i high_weights = _mm256_set1_epi32(pairs.high[k / 2]);
      const __m256i low_weights = _mm256_set1_epi32(pairs.low[k / 2]);
      high0 = _mm256_add_epi32(high0, _mm256_madd_epi16(left, high_weights));
      high1 = _mm256_add_epi32(high1, _mm256_madd_epi16(right, high_weights));
      low0 = _mm256_add_epi32(low0, _mm256_madd_epi16(left, low_weights));
      low1 = _mm256_add_epi32(low1, _mm256_madd_epi16(right, low_weights));
    }
    // Packing works within halves: columns 0-3 8-11 | 4-7 12-15, put in order by the permutation.
    const __m256i words = _mm256_permute4x64_epi64(
        _mm256_packs_epi32(finish(high0, low0), finish(high1, low1)), 0b11'01'10'00);
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    if (x + 16 <= num_bytes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x), bytes);
    } else {
      alignas(16) std::uint8_t last[16];
      _mm_store_si128(reinterpret_cast<__m128i*>(last), bytes);
      std::memcpy(out + x, last, static_cast<std::size_t>(num_bytes - x));
    }
  }
}

}  // namespace

void resize_in_pairs(const ImageView& in, const TapTable& columns, const TapTable& rows,
                     std::uint8_t* out) {
  const std::int64_t row_bytes = columns.size() * in.channels;
  const std::int64_t stride = (row_bytes + kResultSlack + 15) / 16 * 16;
  const std::int64_t first = rows.first_input();
  const std::int64_t count = rows.end_input() - first;
  thread_local std::vector<std::uint8_t> narrow;  // [count, stride]
  narrow.resize(static_cast<std::size_t>(count * stride));
  if (in.channels == 3) {
    resize_lines_rgb(in, first, count, PairTable(columns), stride, narrow.data());
  } else {
    for (std::int64_t y = 0; y < count; ++y) {
      resize_line(in.row(first + y), in.channels, columns, narrow.data() + y * stride);
    }
  }
  for (const PairTable& table = PairTable(rows); const PairTable::Pairs& pairs : table.outputs()) {
    combine_lines(narrow.data() + (pairs.first - first) * stride, stride, pairs, row_bytes, out);
    out += row_bytes;
  }
}

}  // namespace kiln
