#pragma once

#include <cstdint>
#include <vector>

#include "data/views/colour.h"

// The loops over pixels: *_x86.cpp has them in x86-64's instructions, passes_portable.cpp in plain
// loops. Both give the same bits.

namespace kiln {

/// m + factor * (x - m) of every value, cut to [0, 255] and truncated; product and sum are rounded
/// to fp32 one by one.
void blend_with(float m, float factor, const Pixels& pixels);

// Of RGB pixels. Grey is (19595 R + 38470 G + 7471 B + 32768) / 65536.
std::int64_t sum_of_grey(const Pixels& pixels);
void blend_with_grey(float factor, const Pixels& pixels);
void replace_by_grey(const Pixels& pixels);

/// Adds steps of 1 / 255 turn, modulo 256, to the hue of RGB pixels in HSV of 8 bits.
///
/// Where the channels' largest value is V, their middle one M and the smallest m:
///   S = 255 (V - m) / V
///   t = (V - M) / (V - m)
///   H = 255 / 6 * (1 - t, t - 1 | 3 - t, t + 1 | 5 - t, t + 3), plus 255 where negative,
/// first where the largest is red, second green, last blue; of each two, the first where the
/// smallest is the channel before the largest on the circle. Divisions are rounded to fp32, H and S
/// truncated: this gives Pillow's H for each of the 2^24 colours. Greys have S = 0 and any H.
///
/// Back, with i = floor(6 H / 255) and f what is left of it in 255ths,
///   P = V - V S / 255,  W = V - V S F / 255^2,  F = f where i is odd and 255 - f where it is even,
/// rounded; (R, G, B) is (V W P), (W V P), (P V W), (P W V), (W P V), (V P W) for i = 0 to 5, and
/// for 6 as for 0.
void turn_hue(std::int32_t steps, const Pixels& pixels);

/// The weights of a box: `inner` within `reach` pixels, `outer` one further.
struct BoxKernel {
  static constexpr int kBits = 24;  // fractional
  std::int64_t reach = 0;
  std::uint32_t inner = 0;
  std::uint32_t outer = 0;
  std::int64_t num_lines() const { return 2 * reach + 3; }
};
/// The least `count` of box_lines.
constexpr std::int64_t kLeastBytes = 16;

/// out[i] = inner * (sum of the lines within reach) + outer * (first + last line), rounded; `lines`
/// are kernel.num_lines() of `count` bytes.
void box_lines(const std::uint8_t* const* lines, const BoxKernel& kernel, std::int64_t count,
               std::uint8_t* out);

/// A Gaussian's weights of the middle and of each distance from it: 14 fractional bits, in all 1.
using GaussianWeights = std::vector<std::int32_t>;
constexpr int kWeightBits = 14;
/// Fractional bits of values between the two passes.
constexpr int kMiddleBits = 7;
/// Lines of values are padded to a multiple of this.
constexpr std::int64_t kLanes = 16;

/// Sums over the lines k of weights[|k - reach|] * lines[k], 2 reach + 1 of them, rounded: from 8
/// bits to kMiddleBits more, for whole kLanes, and from these back to 8 bits.
void weigh_lines(const std::int16_t* const* lines, const GaussianWeights& weights,
                 std::int64_t count, std::int16_t* out);
void weigh_lines(const std::int16_t* const* lines, const GaussianWeights& weights,
                 std::int64_t count, std::uint8_t* out);

}  // namespace kiln
