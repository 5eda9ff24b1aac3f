#include "data/views/colour.h"

#include <numeric>

#include "data/views/passes.h"

namespace kiln {

void adjust_brightness(const Pixels& pixels, float factor) { blend_with(0.0f, factor, pixels); }

void adjust_contrast(const Pixels& pixels, float factor) {
  if (pixels.count == 0) return;
  const std::int64_t sum =
      pixels.channels == 1
          ? std::accumulate(pixels.data, pixels.data + pixels.count, std::int64_t{0})
          : sum_of_grey(pixels);
  const std::int64_t mean = (2 * sum + pixels.count) / (2 * pixels.count);
  blend_with(static_cast<float>(mean), factor, pixels);
}

void adjust_saturation(const Pixels& pixels, float factor) {
  if (pixels.channels == 3) blend_with_grey(factor, pixels);
}

void adjust_hue(const Pixels& pixels, float turns) {
  if (pixels.channels == 3) turn_hue(static_cast<std::int32_t>(turns * 255.0f), pixels);
}

void make_grey(const Pixels& pixels) {
  if (pixels.channels == 3) replace_by_grey(pixels);
}

void solarise(const Pixels& pixels, std::int64_t threshold) {
  if (threshold > 255) return;
  const auto least = static_cast<std::uint8_t>(threshold);
  // Local, so that the compiler knows that bytes written are not the pointer, and takes many at once.
  std::uint8_t* const values = pixels.data;
  const std::int64_t num_values = pixels.num_bytes();
  for (std::int64_t i = 0; i < num_values; ++i) {
    const std::uint8_t x = values[i];
    values[i] = x >= least ? static_cast<std::uint8_t>(~x) : x;
  }
}

}  // namespace kiln
