#include "data/views/colour.h"

#include <algorithm>
#include <array>

#include "data/views/rgb_lanes.h"

namespace kiln {
namespace {

using Table = std::array<std::uint8_t, 256>;

void map_values(const Table& table, const Pixels& pixels) {
  for (std::int64_t i = 0; i < pixels.num_bytes(); ++i) pixels.data[i] = table[pixels.data[i]];
}

// What m + factor * (x - m) gives for each x; product and sum are rounded to fp32 one by one.
Table blend_with(float m, float factor) {
  Table table;
  for (std::size_t x = 0; x < table.size(); ++x) {
    const float product = factor * (static_cast<float>(x) - m);
    table[x] = static_cast<std::uint8_t>(std::clamp(m + product, 0.0f, 255.0f));
  }
  return table;
}

std::int64_t sum_of_grey(const Pixels& pixels) {
  std::int64_t sum = 0;
  if (pixels.channels == 1) {
    for (std::int64_t i = 0; i < pixels.count; ++i) sum += pixels.data[i];
    return sum;
  }
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

}  // namespace

void adjust_brightness(const Pixels& pixels, float factor) {
  map_values(blend_with(0.0f, factor), pixels);
}

void adjust_contrast(const Pixels& pixels, float factor) {
  if (pixels.count == 0) return;
  const std::int64_t mean = (2 * sum_of_grey(pixels) + pixels.count) / (2 * pixels.count);
  map_values(blend_with(static_cast<float>(mean), factor), pixels);
}

void adjust_saturation(const Pixels& pixels, float factor) {
  if (pixels.channels == 1) return;
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

void make_grey(const Pixels& pixels) {
  if (pixels.channels == 1) return;
  for_rgb_lanes(pixels.data, pixels.count, [](const RgbLanes& rgb) {
    const __m256i grey = grey_of(rgb);
    return side_by_side({grey, grey, grey});
  });
}

void solarise(const Pixels& pixels, std::int64_t threshold) {
  for (std::int64_t i = 0; i < pixels.num_bytes(); ++i) {
    const std::uint8_t x = pixels.data[i];
    pixels.data[i] = x >= threshold ? static_cast<std::uint8_t>(255 - x) : x;
  }
}

}  // namespace kiln
