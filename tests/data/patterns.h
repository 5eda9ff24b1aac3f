#pragma once

#include <cstdint>

#include "data/images/image.h"

namespace kiln {

/// A picture whose neighbouring pixels differ in every channel.
inline Image pattern(std::int64_t width, std::int64_t height, std::int64_t channels) {
  Image image(width, height, channels);
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t c = 0; c < channels; ++c) {
        image.row(y)[x * channels + c] =
            static_cast<std::uint8_t>((x * 37 + y * 91 + x * y * 13 + c * 59) % 256);
      }
    }
  }
  return image;
}

}  // namespace kiln
