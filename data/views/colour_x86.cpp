#include <algorithm>
#include <array>

#include "data/views/passes.h"
#include "data/views/rgb_lanes.h"

namespace kiln {

void blend_with(float m, float factor, const Pixels& pixels) {
  const __m256 base = _mm256_set1_ps(m), factors = _mm256_set1_ps(factor);
  const auto blend = [&](const std::uint8_t* from) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    const __m256 x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    const __m256 product = _mm256_mul_ps(factors, _mm256_sub_ps(x, base));
    return _mm256_cvttps_epi32(_mm256_add_ps(base, product));
  };
  const auto blend_16 = [&](std::uint8_t* at) {
    // Both packings saturate. They work within halves: 0-3 8-11 | 4-7 12-15.
    const __m256i words =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(blend(at), blend(at + 8)), 0b11'01'10'00);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(at),
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  };
  std::int64_t i = 0;
  for (; i + 16 <= pixels.num_bytes(); i += 16) blend_16(pixels.data + i);
  std::array<std::uint8_t, 16> last = {};
  std::copy_n(pixels.data + i, pixels.num_bytes() - i, last.data());
  blend_16(last.data());
  std::copy_n(last.data(), pixels.num_bytes() - i, pixels.data + i);
}

std::int64_t sum_of_grey(const Pixels& pixels) {
  std::int64_t sum = 0;
  constexpr std::int64_t kChunk = 1 << 20;  // pixels whose sums fit 32 bits
  for (std::int64_t begin = 0; begin < pixels.count; begin += kChunk) {
    __m256i sums = _mm256_setzero_si256();
    const std::int64_t count = std::min(kChunk, pixels.count - begin);
    const std::uint8_t* from = pixels.data + begin * 3;
    std::int64_t i = 0;
    for (; i + 10 <= count; i += 8, from += 24) {
      sums = _mm256_add_epi32(sums, grey_of(load_rgb(from)));
    }
    alignas(32) std::uint8_t last[64] = {};
    std::copy_n(from, (count - i) * 3, last);
    sums = _mm256_add_epi32(sums, grey_of(load_rgb(last)));
    sums = _mm256_add_epi32(sums, grey_of(load_rgb(last + 24)));
    alignas(32) std::array<std::int32_t, 8> lanes;
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes.data()), sums);
    for (const std::int32_t lane : lanes) sum += lane;
  }
  return sum;
}

void blend_with_grey(float factor, const Pixels& pixels) {
  const __m256 factors = _mm256_set1_ps(factor);
  for_rgb_lanes(pixels.data, pixels.count, [&](const RgbLanes& rgb) {
    const __m256i grey = grey_of(rgb);
    const __m256 m = _mm256_cvtepi32_ps(grey);
    const auto blend = [&](__m256i x) {
      const __m256 product = _mm256_mul_ps(factors, _mm256_cvtepi32_ps(_mm256_sub_epi32(x, grey)));
      const __m256i value = _mm256_cvttps_epi32(_mm256_add_ps(m, product));
      return _mm256_max_epi32(_mm256_min_epi32(value, _mm256_set1_epi32(255)),
                              _mm256_setzero_si256());
    };
    return side_by_side({blend(rgb.r), blend(rgb.g), blend(rgb.b)});
  });
}

void replace_by_grey(const Pixels& pixels) {
  for_rgb_lanes(pixels.data, pixels.count, [](const RgbLanes& rgb) {
    const __m256i grey = grey_of(rgb);
    return side_by_side({grey, grey, grey});
  });
}

}  // namespace kiln
