#include "data/views/passes.h"
#include "data/views/rgb_lanes.h"

namespace kiln {
namespace {

// All three of 8 bits: hue H in 255 steps a turn, saturation S, value V.
struct HsvLanes {
  __m256i h, s, v;
};

HsvLanes to_hsv(const RgbLanes& rgb) {
  const __m256i one = _mm256_set1_epi32(1);
  const __m256i v = _mm256_max_epi32(_mm256_max_epi32(rgb.r, rgb.g), rgb.b);
  const __m256i least = _mm256_min_epi32(_mm256_min_epi32(rgb.r, rgb.g), rgb.b);
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(rgb.r, rgb.g), rgb.b);
  const __m256i middle = _mm256_sub_epi32(_mm256_sub_epi32(sum, v), least);
  const __m256i range = _mm256_sub_epi32(v, least);
  // A division by 0 is kept away: black and greys have S = 0, and then H says nothing.
  const __m256 s =
      _mm256_div_ps(_mm256_cvtepi32_ps(_mm256_mullo_epi32(range, _mm256_set1_epi32(255))),
                    _mm256_cvtepi32_ps(_mm256_max_epi32(v, one)));
  const __m256 t = _mm256_div_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(v, middle)),
                                 _mm256_cvtepi32_ps(_mm256_max_epi32(range, one)));

  const __m256i is_red = _mm256_cmpeq_epi32(rgb.r, v);
  const __m256i is_green = _mm256_cmpeq_epi32(rgb.g, v);
  const auto choose = [&](__m256i red, __m256i green, __m256i blue) {
    return _mm256_blendv_epi8(_mm256_blendv_epi8(blue, green, is_green), red, is_red);
  };
  const __m256i before = choose(rgb.b, rgb.r, rgb.g);
  const __m256 is_falling = _mm256_castsi256_ps(_mm256_cmpeq_epi32(before, least));
  const auto number = [](float value) { return _mm256_castps_si256(_mm256_set1_ps(value)); };
  const __m256 falling = _mm256_castsi256_ps(choose(number(1), number(3), number(5)));
  const __m256 rising = _mm256_castsi256_ps(choose(number(-1), number(1), number(3)));
  const __m256 sixths =
      _mm256_blendv_ps(_mm256_add_ps(rising, t), _mm256_sub_ps(falling, t), is_falling);
  __m256 turns = _mm256_div_ps(sixths, _mm256_set1_ps(6));
  const __m256 is_negative = _mm256_cmp_ps(sixths, _mm256_setzero_ps(), _CMP_LT_OQ);
  turns = _mm256_add_ps(turns, _mm256_and_ps(is_negative, _mm256_set1_ps(1)));
  return {_mm256_cvttps_epi32(_mm256_mul_ps(turns, _mm256_set1_ps(255))), _mm256_cvttps_epi32(s),
          v};
}

__m256i to_rgb(const HsvLanes& hsv) {
  const __m256i full = _mm256_set1_epi32(255);
  const __m256i six_h = _mm256_mullo_epi32(hsv.h, _mm256_set1_epi32(6));
  // x / 255 = (x + 1 + (x + 1) / 256) / 256, rounded down, for x < 65535.
  const auto divide = [](__m256i x_and_1) {
    return _mm256_srli_epi32(_mm256_add_epi32(x_and_1, _mm256_srli_epi32(x_and_1, 8)), 8);
  };
  const __m256i i = divide(_mm256_add_epi32(six_h, _mm256_set1_epi32(1)));
  const __m256i f = _mm256_sub_epi32(six_h, _mm256_mullo_epi32(i, full));
  const __m256i is_odd =
      _mm256_cmpeq_epi32(_mm256_and_si256(i, _mm256_set1_epi32(1)), _mm256_set1_epi32(1));
  const __m256i share = _mm256_blendv_epi8(_mm256_sub_epi32(full, f), f, is_odd);

  const __m256i vs = _mm256_mullo_epi32(hsv.v, hsv.s);
  const __m256i p = _mm256_sub_epi32(hsv.v, divide(_mm256_add_epi32(vs, _mm256_set1_epi32(128))));
  // V S F is below 2^24 and exact in fp32; the quotient is never half-way between integers, and
  // never nearer to that than fp32 can tell.
  const __m256 vsf = _mm256_mul_ps(_mm256_cvtepi32_ps(vs), _mm256_cvtepi32_ps(share));
  const __m256i w =
      _mm256_sub_epi32(hsv.v, _mm256_cvtps_epi32(_mm256_div_ps(vsf, _mm256_set1_ps(65025))));

  // Bytes V W P of each pixel, then put into the order of i.
  const __m256i vwp = side_by_side({hsv.v, w, p});
  const __m256i orders =
      _mm256_setr_epi32(0x020100, 0x020001, 0x010002, 0x000102, 0x000201, 0x010200, 0x020100, 0);
  const __m256i lane =
      _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0C0C0C0C));
  const __m256i order = _mm256_add_epi8(_mm256_permutevar8x32_epi32(orders, i), lane);
  return _mm256_shuffle_epi8(vwp, order);
}

}  // namespace

void turn_hue(std::int32_t steps, const Pixels& pixels) {
  for_rgb_lanes(pixels.data, pixels.count, [&](const RgbLanes& rgb) {
    HsvLanes hsv = to_hsv(rgb);
    hsv.h =
        _mm256_and_si256(_mm256_add_epi32(hsv.h, _mm256_set1_epi32(steps)), _mm256_set1_epi32(255));
    return to_rgb(hsv);
  });
}

}  // namespace kiln
