#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "data/views/passes.h"

// For processors other than x86-64: the same bits.

namespace kiln {
namespace {

std::uint8_t blend(float m, float factor, std::uint8_t x) {
  const float product = factor * (static_cast<float>(x) - m);
  return static_cast<std::uint8_t>(std::clamp(m + product, 0.0f, 255.0f));
}

std::int32_t grey_of(const std::uint8_t* rgb) {
  return (19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + (1 << 15)) >> 16;
}

template <typename Change>
void for_each_pixel(const Pixels& pixels, const Change& change) {
  for (std::int64_t i = 0; i < pixels.count; ++i) change(pixels.data + 3 * i);
}

struct Hsv {
  std::int32_t h, s, v;
};

Hsv to_hsv(const std::uint8_t* rgb) {
  const std::int32_t v = std::max({rgb[0], rgb[1], rgb[2]});
  const std::int32_t least = std::min({rgb[0], rgb[1], rgb[2]});
  const std::int32_t middle = rgb[0] + rgb[1] + rgb[2] - v - least;
  const std::int32_t range = v - least;
  const auto number = [](std::int32_t value) {
    return static_cast<float>(std::max(value, 1));  // greys: H says nothing
  };
  const float t = static_cast<float>(v - middle) / number(range);
  const std::size_t largest = rgb[0] == v ? 0 : rgb[1] == v ? 1 : 2;
  const auto sector = static_cast<float>(2 * largest);
  const bool is_falling = rgb[(largest + 2) % 3] == least;
  const float sixths = is_falling ? sector + 1.0f - t : sector - 1.0f + t;
  float turns = sixths / 6.0f;
  if (sixths < 0.0f) turns += 1.0f;
  return {static_cast<std::int32_t>(turns * 255.0f), 255 * range / std::max(v, 1), v};
}

void to_rgb(const Hsv& hsv, std::uint8_t* rgb) {
  const std::int32_t i = 6 * hsv.h / 255;
  const std::int32_t f = 6 * hsv.h - 255 * i;
  const std::int32_t share = i % 2 == 1 ? f : 255 - f;
  const std::int32_t vs = hsv.v * hsv.s;
  const std::int32_t p = hsv.v - (vs + 127) / 255;
  const std::int32_t w = hsv.v - (vs * share + 32512) / 65025;
  const std::array<std::array<std::int32_t, 3>, 6> orders = {
      {{hsv.v, w, p}, {w, hsv.v, p}, {p, hsv.v, w}, {p, w, hsv.v}, {w, p, hsv.v}, {hsv.v, p, w}}};
  for (std::size_t c = 0; c < 3; ++c) {
    rgb[c] = static_cast<std::uint8_t>(orders[static_cast<std::size_t>(i % 6)][c]);
  }
}

// At one column.
std::int32_t weigh(const std::int16_t* const* lines, const GaussianWeights& weights,
                   std::int64_t at) {
  const auto reach = std::ssize(weights) - 1;
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k <= 2 * reach; ++k) {
    sum += weights[static_cast<std::size_t>(std::abs(k - reach))] * lines[k][at];
  }
  return sum;
}

std::int32_t round_off(std::int32_t sum, int bits) { return (sum + (1 << (bits - 1))) >> bits; }

}  // namespace

void blend_with(float m, float factor, const Pixels& pixels) {
  for (std::int64_t i = 0; i < pixels.num_bytes(); ++i) {
    pixels.data[i] = blend(m, factor, pixels.data[i]);
  }
}

std::int64_t sum_of_grey(const Pixels& pixels) {
  std::int64_t sum = 0;
  for_each_pixel(pixels, [&](const std::uint8_t* rgb) { sum += grey_of(rgb); });
  return sum;
}

void blend_with_grey(float factor, const Pixels& pixels) {
  for_each_pixel(pixels, [&](std::uint8_t* rgb) {
    const auto m = static_cast<float>(grey_of(rgb));
    for (int c = 0; c < 3; ++c) rgb[c] = blend(m, factor, rgb[c]);
  });
}

void replace_by_grey(const Pixels& pixels) {
  for_each_pixel(pixels, [](std::uint8_t* rgb) {
    std::fill_n(rgb, 3, static_cast<std::uint8_t>(grey_of(rgb)));
  });
}

void turn_hue(std::int32_t steps, const Pixels& pixels) {
  for_each_pixel(pixels, [&](std::uint8_t* rgb) {
    Hsv hsv = to_hsv(rgb);
    hsv.h = (hsv.h + steps) & 255;
    to_rgb(hsv, rgb);
  });
}

void box_lines(const std::uint8_t* const* lines, const BoxKernel& kernel, std::int64_t count,
               std::uint8_t* out) {
  const std::int64_t last = kernel.num_lines() - 1;
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t inside = 0;
    for (std::int64_t k = 1; k < last; ++k) inside += lines[k][i];
    const std::uint32_t outside = std::uint32_t{lines[0][i]} + lines[last][i];
    const std::uint32_t half = 1u << (BoxKernel::kBits - 1);
    out[i] = static_cast<std::uint8_t>((inside * kernel.inner + outside * kernel.outer + half) >>
                                       BoxKernel::kBits);
  }
}

void weigh_lines(const std::int16_t* const* lines, const GaussianWeights& weights,
                 std::int64_t count, std::int16_t* out) {
  for (std::int64_t x = 0; x < count; ++x) {
    out[x] =
        static_cast<std::int16_t>(round_off(weigh(lines, weights, x), kWeightBits - kMiddleBits));
  }
}

void weigh_lines(const std::int16_t* const* lines, const GaussianWeights& weights,
                 std::int64_t count, std::uint8_t* out) {
  for (std::int64_t x = 0; x < count; ++x) {
    const std::int32_t value = round_off(weigh(lines, weights, x), kWeightBits + kMiddleBits);
    out[x] = static_cast<std::uint8_t>(std::clamp(value, 0, 255));
  }
}

}  // namespace kiln
