#include <immintrin.h>

#include <algorithm>

#include "data/views/passes.h"

namespace kiln {
namespace {

// Two values of 16 bits side by side, as one multiply-add takes them; the weights in two digits of
// 12 bits.
constexpr int kLowBits = 12;

__m256i pair_of(std::uint32_t first, std::uint32_t second) {
  return _mm256_set1_epi32(static_cast<std::int32_t>(second << 16 | first));
}

__m256i load_16(const std::uint8_t* from) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

using Line = const std::int16_t*;

struct Sums {
  __m256i first, second;  // columns 0-3 8-11 | 4-7 12-15
};

// At 16 columns, the sum over lines[k] of weights[|k - reach|] * lines[k]: 2 reach + 1 lines.
Sums weigh(const Line* lines, const GaussianWeights& weights, std::int64_t at) {
  const auto reach = std::ssize(weights) - 1;
  const auto load = [&](std::int64_t line) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lines[line] + at));
  };
  Sums sums = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  const auto add = [&](__m256i a, __m256i b, std::int32_t weight) {
    const __m256i both = _mm256_set1_epi16(static_cast<std::int16_t>(weight));
    sums.first = _mm256_add_epi32(sums.first, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), both));
    sums.second =
        _mm256_add_epi32(sums.second, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), both));
  };
  add(load(reach), _mm256_setzero_si256(), weights[0]);
  for (std::int64_t k = 1; k <= reach; ++k) {
    add(load(reach - k), load(reach + k), weights[static_cast<std::size_t>(k)]);
  }
  return sums;
}

template <int kBits>
__m256i round_off(const Sums& sums) {
  const auto round = [](__m256i sum) {
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (kBits - 1))), kBits);
  };
  return _mm256_packs_epi32(round(sums.first), round(sums.second));
}

}  // namespace

void box_lines(const std::uint8_t* const* lines, const BoxKernel& kernel, std::int64_t count,
               std::uint8_t* out) {
  constexpr std::uint32_t kLowMask = (1u << kLowBits) - 1;
  const __m256i high = pair_of(kernel.inner >> kLowBits, kernel.outer >> kLowBits);
  const __m256i low = pair_of(kernel.inner & kLowMask, kernel.outer & kLowMask);
  const __m256i half = _mm256_set1_epi32(1 << (BoxKernel::kBits - 1));
  const auto weigh = [&](__m256i pairs) {
    const __m256i upper = _mm256_slli_epi32(_mm256_madd_epi16(pairs, high), kLowBits);
    const __m256i lower = _mm256_add_epi32(_mm256_madd_epi16(pairs, low), half);
    return _mm256_srli_epi32(_mm256_add_epi32(upper, lower), BoxKernel::kBits);
  };
  const std::int64_t num_lines = kernel.num_lines();
  for (std::int64_t i = 0; i < count; i += 16) {
    const std::int64_t at = std::min(i, count - 16);  // the last sixteen may be made twice
    __m256i inner = load_16(lines[1] + at);
    for (std::int64_t k = 2; k + 1 < num_lines; ++k) {
      inner = _mm256_add_epi16(inner, load_16(lines[k] + at));
    }
    const __m256i outer =
        _mm256_add_epi16(load_16(lines[0] + at), load_16(lines[num_lines - 1] + at));
    const __m256i words = _mm256_packs_epi32(weigh(_mm256_unpacklo_epi16(inner, outer)),
                                             weigh(_mm256_unpackhi_epi16(inner, outer)));
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + at), bytes);
  }
}

void weigh_lines(const std::int16_t* const* lines, const GaussianWeights& weights,
                 std::int64_t count, std::int16_t* out) {
  for (std::int64_t x = 0; x < count; x += kLanes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x),
                        round_off<kWeightBits - kMiddleBits>(weigh(lines, weights, x)));
  }
}

void weigh_lines(const std::int16_t* const* lines, const GaussianWeights& weights,
                 std::int64_t count, std::uint8_t* out) {
  for (std::int64_t x = 0; x < count; x += kLanes) {
    const __m256i words = round_off<kWeightBits + kMiddleBits>(weigh(lines, weights, x));
    alignas(16) std::uint8_t bytes[kLanes];
    _mm_store_si128(
        reinterpret_cast<__m128i*>(bytes),
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    std::copy_n(bytes, std::min(kLanes, count - x), out + x);
  }
}

}  // namespace kiln
