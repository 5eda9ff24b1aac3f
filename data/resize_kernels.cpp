#include "data/resize_kernels.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace kiln {
namespace {

constexpr std::int32_t kHalf = 1 << (TapTable::kPrecisionBits - 1);

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

std::int32_t to_fixed(double weight) {
  const double scaled = weight * (1 << TapTable::kPrecisionBits);
  return static_cast<std::int32_t>(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

std::int32_t side_by_side(std::int32_t first, std::int32_t second) {
  return static_cast<std::int32_t>((static_cast<std::uint32_t>(second) << 16) |
                                   (static_cast<std::uint32_t>(first) & 0xFFFFu));
}

// (high * 2^11 + low) / 2^22, 32 bits each.
__m256i finish(__m256i high, __m256i low) {
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, TapTable::kLowBits), low);
  return _mm256_srai_epi32(sum, TapTable::kPrecisionBits);
}

__m256i load_from_both(const std::uint8_t* line0, const std::uint8_t* line1) {
  return _mm256_set_m128i(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(line1)),
                          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(line0)));
}

}  // namespace

TapTable::TapTable(std::int64_t in_size, std::int64_t out_size, std::int64_t begin,
                   std::int64_t count) {
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
  const double stretch = std::max(scale, 1.0);
  const double support = 2.0 * stretch;
  const std::int64_t width = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  weights.resize(static_cast<std::size_t>(count * width));
  taps.reserve(static_cast<std::size_t>(count));
  high_pairs.reserve(weights.size() / 2 + taps.capacity());
  low_pairs.reserve(weights.size() / 2 + taps.capacity());
  std::vector<double> exact(static_cast<std::size_t>(width) + 1);
  for (std::int64_t i = 0; i < count; ++i) {
    const double center = (static_cast<double>(begin + i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto end = std::min(static_cast<std::int64_t>(center + support + 0.5), in_size);
    double sum = 0.0;
    for (std::int64_t x = first; x < end; ++x) {
      const double w = bicubic((static_cast<double>(x) - center + 0.5) * (1.0 / stretch));
      exact[static_cast<std::size_t>(x - first)] = w;
      sum += w;
    }
    std::int32_t* fixed = weights.data() + i * width;
    for (std::int64_t k = 0; k < end - first; ++k) {
      fixed[k] = to_fixed(exact[static_cast<std::size_t>(k)] / sum);
    }
    taps.push_back({first, end - first, std::ssize(high_pairs), fixed});
    constexpr std::int32_t kLowMask = (1 << kLowBits) - 1;
    for (std::int64_t k = 0; k < end - first; k += 2) {
      const std::int32_t second = k + 1 < end - first ? fixed[k + 1] : 0;
      high_pairs.push_back(side_by_side(fixed[k] >> kLowBits, second >> kLowBits));
      low_pairs.push_back(side_by_side(fixed[k] & kLowMask, second & kLowMask));
    }
  }
}

// Each half of a register is one line: two pixels r0 g0 b0 r1 g1 b1 become the 16-bit pairs
// (r0 r1) (g0 g1) (b0 b1) (0 0), which one multiply-add turns into three sums.
void resize_two_lines_rgb(const std::uint8_t* in0, const std::uint8_t* in1, const TapTable& table,
                          std::uint8_t* out0, std::uint8_t* out1) {
  constexpr char z = -1;  // a zero byte
  const __m256i to_pairs =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, z, 3, z, 1, z, 4, z, 2, z, 5, z, z, z, z, z));
  for (const Taps& taps : table.taps) {
    __m256i high = _mm256_setzero_si256();
    __m256i low = _mm256_set1_epi32(kHalf);
    const std::uint8_t* from0 = in0 + taps.first * 3;
    const std::uint8_t* from1 = in1 + taps.first * 3;
    const std::int32_t* high_pair = table.high_pairs.data() + taps.pair_begin;
    const std::int32_t* low_pair = table.low_pairs.data() + taps.pair_begin;
    for (std::int64_t k = 0; k < taps.count; k += 2, from0 += 6, from1 += 6) {
      const __m256i pixels = _mm256_shuffle_epi8(load_from_both(from0, from1), to_pairs);
      high = _mm256_add_epi32(high, _mm256_madd_epi16(pixels, _mm256_set1_epi32(*high_pair++)));
      low = _mm256_add_epi32(low, _mm256_madd_epi16(pixels, _mm256_set1_epi32(*low_pair++)));
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

void resize_line(const std::uint8_t* in, std::int64_t channels, const TapTable& table,
                 std::uint8_t* out) {
  for (const Taps& taps : table.taps) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::uint8_t* from = in + taps.first * channels + c;
      std::int32_t sum = kHalf;
      for (std::int64_t k = 0; k < taps.count; ++k) sum += from[k * channels] * taps.weights[k];
      *out++ = static_cast<std::uint8_t>(std::clamp(sum >> TapTable::kPrecisionBits, 0, 255));
    }
  }
}

void mirror_line(const std::uint8_t* in, std::int64_t width, std::int64_t channels,
                 std::uint8_t* out) {
  const std::uint8_t* from = in + width * channels;  // the end of what is left
  std::int64_t left = width;
  if (channels == 3) {
    // Five pixels at a time: the 15 bytes before `from`, and one more, which is not used.
    constexpr char z = -1;
    const __m128i backwards = _mm_setr_epi8(13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, z);
    for (; left > 5; left -= 5, from -= 15, out += 15) {
      const __m128i pixels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from - 16));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_shuffle_epi8(pixels, backwards));
    }
  }
  for (; left > 0; --left, out += channels) {
    from -= channels;
    std::memcpy(out, from, static_cast<std::size_t>(channels));
  }
}

// Bytes of two lines interleaved are the 16-bit pairs that one multiply-add takes; 16 columns at a
// time. An odd last line is paired with itself at weight 0.
void combine_lines(const std::uint8_t* rows, std::int64_t stride, const Taps& taps,
                   const TapTable& table, std::int64_t num_bytes, std::uint8_t* out) {
  for (std::int64_t x = 0; x < num_bytes; x += 16) {
    __m256i high0 = _mm256_setzero_si256(), high1 = high0;
    __m256i low0 = _mm256_set1_epi32(kHalf), low1 = low0;
    const std::int32_t* high_pair = table.high_pairs.data() + taps.pair_begin;
    const std::int32_t* low_pair = table.low_pairs.data() + taps.pair_begin;
    for (std::int64_t k = 0; k < taps.count; k += 2) {
      const std::int64_t next = k + 1 < taps.count ? k + 1 : k;
      const auto load = [&](std::int64_t row) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + row * stride + x));
      };
      const __m128i a = load(k), b = load(next);
      const __m256i left = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
      const __m256i right = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
      const __m256i high_weights = _mm256_set1_epi32(*high_pair++);
      const __m256i low_weights = _mm256_set1_epi32(*low_pair++);
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

}  // namespace kiln
