#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace kiln {

/// Eight RGB pixels as 32-bit integers, a channel per register.
struct RgbLanes {
  __m256i r, g, b;
};

/// Reads 28 bytes, of which 24 are the eight pixels.
inline RgbLanes load_rgb(const std::uint8_t* from) {
  constexpr char z = -1;  // a zero byte
  const __m256i bytes =
      _mm256_set_m128i(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 12)),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  const auto channel = [&](__m128i which) {
    return _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(which));
  };
  return {channel(_mm_setr_epi8(0, z, z, z, 3, z, z, z, 6, z, z, z, 9, z, z, z)),
          channel(_mm_setr_epi8(1, z, z, z, 4, z, z, z, 7, z, z, z, 10, z, z, z)),
          channel(_mm_setr_epi8(2, z, z, z, 5, z, z, z, 8, z, z, z, 11, z, z, z))};
}

/// Writes the 24 bytes of eight pixels, each r | g << 8 | b << 16.
inline void store_rgb(__m256i pixels, std::uint8_t* to) {
  constexpr char z = -1;
  const __m256i close = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, z, z, z, z));
  const __m256i closed = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(pixels, close),
                                                     _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(closed));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 16), _mm256_extracti128_si256(closed, 1));
}

inline __m256i side_by_side(const RgbLanes& rgb) {
  return _mm256_or_si256(
      rgb.r, _mm256_or_si256(_mm256_slli_epi32(rgb.g, 8), _mm256_slli_epi32(rgb.b, 16)));
}

/// (19595 R + 38470 G + 7471 B + 32768) / 65536, as Pillow's convert("L").
inline __m256i grey_of(const RgbLanes& rgb) {
  // 16-bit factors: 38470 is 65536 - 27066.
  const __m256i rg = _mm256_or_si256(rgb.r, _mm256_slli_epi32(rgb.g, 16));
  const __m256i sum =
      _mm256_add_epi32(_mm256_madd_epi16(rg, _mm256_set1_epi32((-27066 << 16) | 19595)),
                       _mm256_madd_epi16(rgb.b, _mm256_set1_epi32(7471)));
  return _mm256_add_epi32(_mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << 15)), 16),
                          rgb.g);
}

/// Calls change(RgbLanes) -> pixels side by side for all pixels, eight at a time, in place.
template <typename Change>
void for_rgb_lanes(std::uint8_t* data, std::int64_t count, const Change& change) {
  constexpr std::int64_t kStep = 8, kRead = 10;  // pixels made, pixels that a load touches
  std::int64_t i = 0;
  for (; i + kRead <= count; i += kStep, data += 3 * kStep) store_rgb(change(load_rgb(data)), data);
  while (i < count) {
    alignas(32) std::uint8_t last[32] = {};
    const std::int64_t left = count - i < kStep ? count - i : kStep;
    std::memcpy(last, data, static_cast<std::size_t>(3 * left));
    store_rgb(change(load_rgb(last)), last);
    std::memcpy(data, last, static_cast<std::size_t>(3 * left));
    i += left;
    data += 3 * left;
  }
}

}  // namespace kiln
