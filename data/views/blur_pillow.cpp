#include <algorithm>
#include <cmath>
#include <vector>

#include "data/views/blur.h"
#include "data/views/passes.h"

namespace kiln {
namespace {

// In fp32 where Pillow's is.
BoxKernel box_kernel(double sigma) {
  const auto sigma_f = static_cast<float>(sigma);
  const float variance = sigma_f * sigma_f / 3.0f;
  const auto length = static_cast<float>(std::sqrt(12.0 * static_cast<double>(variance) + 1.0));
  const auto l = static_cast<float>(std::floor((static_cast<double>(length) - 1.0) / 2.0));
  const float a = (2 * l + 1) * (l * (l + 1) - 3 * variance) / (6 * (variance - (l + 1) * (l + 1)));
  const float radius = l + a;
  constexpr std::uint32_t kOne = 1u << BoxKernel::kBits;
  BoxKernel kernel;
  kernel.reach = static_cast<std::int64_t>(radius);
  kernel.inner = static_cast<std::uint32_t>(static_cast<float>(kOne) / (radius * 2 + 1));
  kernel.outer = (kOne - static_cast<std::uint32_t>(kernel.reach * 2 + 1) * kernel.inner) / 2;
  return kernel;
}

constexpr int kPasses = 3;

// A line with its edge pixels repeated on both sides.
class PaddedLine {
 public:
  PaddedLine(std::int64_t width, std::int64_t channels, std::int64_t margin)
      : width_(width),
        channels_(channels),
        margin_(margin),
        bytes_(static_cast<std::size_t>(std::max(width * channels, kLeastBytes) +
                                        2 * margin * channels)) {}

  std::uint8_t* first() { return bytes_.data() + margin_ * channels_; }
  void repeat_edges() {
    std::uint8_t* const begin = first();
    std::uint8_t* const end = begin + width_ * channels_;
    for (std::int64_t i = 1; i <= margin_; ++i) {
      std::copy_n(begin, channels_, begin - i * channels_);
      std::copy_n(end - channels_, channels_, end + (i - 1) * channels_);
    }
  }

 private:
  std::int64_t width_, channels_, margin_;
  std::vector<std::uint8_t> bytes_;
};

void blur_along_lines(std::uint8_t* pixels, std::int64_t width, std::int64_t height,
                      std::int64_t channels, const BoxKernel& kernel) {
  PaddedLine lines[2] = {{width, channels, kernel.reach + 1}, {width, channels, kernel.reach + 1}};
  std::vector<const std::uint8_t*> shifted(static_cast<std::size_t>(kernel.num_lines()));
  const std::int64_t row_bytes = width * channels;
  for (std::int64_t y = 0; y < height; ++y, pixels += row_bytes) {
    std::copy_n(pixels, row_bytes, lines[0].first());
    for (int pass = 0; pass < kPasses; ++pass) {
      PaddedLine &from = lines[pass % 2], &to = lines[(pass + 1) % 2];
      from.repeat_edges();
      for (std::int64_t k = 0; k < kernel.num_lines(); ++k) {
        shifted[static_cast<std::size_t>(k)] = from.first() + (k - kernel.reach - 1) * channels;
      }
      box_lines(shifted.data(), kernel, std::max(row_bytes, kLeastBytes), to.first());
    }
    std::copy_n(lines[kPasses % 2].first(), row_bytes, pixels);
  }
}

void blur_along_columns(std::uint8_t* pixels, std::int64_t row_bytes, std::int64_t height,
                        const BoxKernel& kernel) {
  const std::int64_t stride = std::max(row_bytes, kLeastBytes);
  thread_local std::vector<std::uint8_t> memory[2];
  for (auto& buffer : memory) buffer.resize(static_cast<std::size_t>(height * stride));
  for (std::int64_t y = 0; y < height; ++y) {
    std::copy_n(pixels + y * row_bytes, row_bytes, memory[0].data() + y * stride);
  }
  std::vector<const std::uint8_t*> lines(static_cast<std::size_t>(kernel.num_lines()));
  for (int pass = 0; pass < kPasses; ++pass) {
    const std::uint8_t* from = memory[pass % 2].data();
    std::uint8_t* to = memory[(pass + 1) % 2].data();
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t k = 0; k < kernel.num_lines(); ++k) {
        const std::int64_t row = std::clamp<std::int64_t>(y + k - kernel.reach - 1, 0, height - 1);
        lines[static_cast<std::size_t>(k)] = from + row * stride;
      }
      box_lines(lines.data(), kernel, stride, to + y * stride);
    }
  }
  for (std::int64_t y = 0; y < height; ++y) {
    std::copy_n(memory[kPasses % 2].data() + y * stride, row_bytes, pixels + y * row_bytes);
  }
}

}  // namespace

void blur_pillow(std::uint8_t* pixels, std::int64_t width, std::int64_t height,
                 std::int64_t channels, double sigma) {
  const BoxKernel kernel = box_kernel(sigma);
  blur_along_lines(pixels, width, height, channels, kernel);
  blur_along_columns(pixels, width * channels, height, kernel);
}

}  // namespace kiln
