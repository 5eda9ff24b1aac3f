#pragma once

#include <algorithm>
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
  /// Changes the size and reuses the memory where it is large enough. The pixels are undefined
  /// afterwards.
  void reshape(std::int64_t w, std::int64_t h, std::int64_t c) {
    width = w;
    height = h;
    channels = c;
    pixels.resize(static_cast<std::size_t>(w * h * c));
  }
  std::int64_t row_bytes() const { return width * channels; }
  std::uint8_t* row(std::int64_t y) { return pixels.data() + y * row_bytes(); }
  const std::uint8_t* row(std::int64_t y) const { return pixels.data() + y * row_bytes(); }
  friend bool operator==(const Image&, const Image&) = default;
};

/// A view of the pixels of an image or of a part of it; rows are `stride` bytes apart.
struct ImageView {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::int64_t channels = 0;
  std::int64_t stride = 0;
  const std::uint8_t* pixels = nullptr;

  ImageView(const Image& image)
      : width(image.width),
        height(image.height),
        channels(image.channels),
        stride(image.row_bytes()),
        pixels(image.pixels.data()) {}
  ImageView(const Image& image, const Box& part) : ImageView(image) {
    pixels = image.row(part.top) + part.left * channels;
    width = part.width;
    height = part.height;
  }
  std::int64_t row_bytes() const { return width * channels; }
  const std::uint8_t* row(std::int64_t y) const { return pixels + y * stride; }
};

inline Image copy_of(const ImageView& view) {
  Image out(view.width, view.height, view.channels);
  for (std::int64_t y = 0; y < view.height; ++y) {
    std::copy_n(view.row(y), view.row_bytes(), out.row(y));
  }
  return out;
}

}  // namespace kiln
