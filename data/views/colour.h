#pragma once

#include <cstdint>

namespace kiln {

/// Pixels of a picture, one after another: [count, channels] of 8 bits, 1 (grey) or 3 (RGB)
/// channels.
struct Pixels {
  std::uint8_t* data = nullptr;
  std::int64_t count = 0;
  std::int64_t channels = 0;
  std::int64_t num_bytes() const { return count * channels; }
};

/// Changes of colour, in place. Arithmetic as in Pillow's ImageEnhance, Image.convert and
/// ImageOps.solarize: 8 bits after every step, equal to the last bit.
///
/// Brightness, contrast and saturation blend each value x with another one: m + factor * (x - m),
/// cut to [0, 255], what follows the point dropped. A factor of 1 changes nothing.

/// m = 0.
void adjust_brightness(const Pixels& pixels, float factor);
/// m = the picture's mean grey value, rounded.
void adjust_contrast(const Pixels& pixels, float factor);
/// m = the pixel's grey value. Grey pictures stay as they are.
void adjust_saturation(const Pixels& pixels, float factor);

/// Turns the hue by `turns` of the colour circle, -0.5 to 0.5, through HSV of 8 bits each: a turn
/// is 255 steps, and a part of a step is dropped. Grey pictures stay as they are.
void adjust_hue(const Pixels& pixels, float turns);

/// Grey values 0.299 R + 0.587 G + 0.114 B in all three channels.
void make_grey(const Pixels& pixels);

/// Values of `threshold` and above become 255 - x.
void solarise(const Pixels& pixels, std::int64_t threshold);

}  // namespace kiln
