#pragma once

#include <cstdint>
#include <vector>

namespace kiln {

/// A rectangle of pixels.
struct Box {
  std::int64_t left = 0;
  std::int64_t top = 0;
  std::int64_t width = 0;
  std::int64_t height = 0;
  friend bool operator==(const Box&, const Box&) = default;
};

/// Pixels [height, width, channels] of 8 bits, interleaved.
struct Image {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::int64_t channels = 0;
  std::vector<std::uint8_t> pixels;

  Image() = default;
  Image(std::int64_t w, std::int64_t h, std::int64_t c)
      : width(w), height(h), channels(c), pixels(static_cast<std::size_t>(w * h * c)) {}
  std::int64_t row_bytes() const { return width * channels; }
  std::uint8_t* row(std::int64_t y) { return pixels.data() + y * row_bytes(); }
  const std::uint8_t* row(std::int64_t y) const { return pixels.data() + y * row_bytes(); }
  friend bool operator==(const Image&, const Image&) = default;
};

}  // namespace kiln
