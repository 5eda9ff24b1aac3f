#include "data/images/crop.h"

#include <algorithm>
#include <cmath>

namespace kiln {
namespace {

// Half to even, as Python's round().
std::int64_t round_to_int(double value) { return static_cast<std::int64_t>(std::nearbyint(value)); }

double between(double low, double high, std::uint32_t word) {
  return low + (high - low) * static_cast<double>(Philox::to_unit(word));
}

// Uniform on {0, ..., bound-1}; the bias is below 2^-16 for any image.
std::int64_t below(std::int64_t bound, std::uint32_t word) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(bound) * word >> 32);
}

Box centred(std::int64_t width, std::int64_t height, std::int64_t w, std::int64_t h) {
  return {(width - w) / 2, (height - h) / 2, w, h};
}

}  // namespace

Box random_resized_crop(const Philox& stream, std::int64_t width, std::int64_t height,
                        const std::vector<double>& scale, const std::vector<double>& ratio,
                        std::uint64_t first_block) {
  const double area = static_cast<double>(width * height);
  for (std::uint64_t attempt = 0; attempt < kCropTries; ++attempt) {
    const auto words = stream.block(first_block + attempt);
    const double target = area * between(scale[0], scale[1], words[0]);
    const double aspect = std::exp(between(std::log(ratio[0]), std::log(ratio[1]), words[1]));
    const std::int64_t w = round_to_int(std::sqrt(target * aspect));
    const std::int64_t h = round_to_int(std::sqrt(target / aspect));
    if (w <= 0 || w > width || h <= 0 || h > height) continue;
    return {below(width - w + 1, words[3]), below(height - h + 1, words[2]), w, h};
  }
  const double found = static_cast<double>(width) / static_cast<double>(height);
  if (found < ratio[0]) {
    const std::int64_t h = round_to_int(static_cast<double>(width) / ratio[0]);
    return centred(width, height, width, h);
  }
  if (found > ratio[1]) {
    const std::int64_t w = round_to_int(static_cast<double>(height) * ratio[1]);
    return centred(width, height, w, height);
  }
  return {0, 0, width, height};
}

Framing frame_region(const Box& region, std::int64_t size) {
  return {region, size, size, {0, 0, size, size}};
}

Framing frame_center(std::int64_t width, std::int64_t height, std::int64_t size) {
  const Box whole = {0, 0, width, height};
  if (width == size && height == size) return frame_region(whole, size);
  const auto side = static_cast<std::int64_t>(static_cast<double>(size) / 0.875);
  Framing framing = {whole, side, side, {}};
  if (width <= height) {
    framing.height = side * height / width;
  } else {
    framing.width = side * width / height;
  }
  framing.window = {round_to_int(static_cast<double>(framing.width - size) / 2.0),
                    round_to_int(static_cast<double>(framing.height - size) / 2.0), size, size};
  return framing;
}

}  // namespace kiln
