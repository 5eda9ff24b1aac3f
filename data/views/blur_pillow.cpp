#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "data/views/blur.h"

namespace kiln {
namespace {

// The weights of a box: `inner` within `reach` pixels, `outer` one further. 24 fractional bits.
struct BoxKernel {
  static constexpr int kBits = 24;
  std::int64_t reach = 0;
  std::uint32_t inner = 0;
  std::uint32_t outer = 0;

  // In fp32 where Pillow's is.
  explicit BoxKernel(double sigma) {
    const auto sigma_f = static_cast<float>(sigma);
    const float variance = sigma_f * sigma_f / 3.0f;
    const auto length = static_cast<float>(std::sqrt(12.0 * static_cast<double>(variance) + 1.0));
    const auto l = static_cast<float>(std::floor((static_cast<double>(length) - 1.0) / 2.0));
    const float a =
        (2 * l + 1) * (l * (l + 1) - 3 * variance) / (6 * (variance - (l + 1) * (l + 1)));
    const float radius = l + a;
    reach = static_cast<std::int64_t>(radius);
    inner = static_cast<std::uint32_t>(static_cast<float>(1 << kBits) / (radius * 2 + 1));
    outer = ((1u << kBits) - static_cast<std::uint32_t>(reach * 2 + 1) * inner) / 2;
  }
  std::int64_t num_lines() const { return 2 * reach + 3; }
};

// Two values of 16 bits side by side, as one multiply-add takes them; the weights in two digits of
// 12 bits.
constexpr int kLowBits = 12;

__m256i pair_of(std::uint32_t first, std::uint32_t second) {
  return _mm256_set1_epi32(static_cast<std::int32_t>(second << 16 | first));
}

__m256i load_16(const std::uint8_t* from) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// out[i] = (inner * (sum of the lines within reach) + outer * (first + last line) + 1/2) at i, for
// `count` >= 16 bytes; `lines` are kernel.num_lines() of them.
void box_lines(const std::uint8_t* const* lines, const BoxKernel& kernel, std::int64_t count,
               std::uint8_t* out) {
  constexpr std::uint32_t kLowMask = (1u << kLowBits) - 1;
  const __m256i high = pair_of(kernel.inner >> kLowBits, kernel.outer >> kLowBits);
  const __m256i low = pair_of(kernel.inner & kLowMask, kernel.outer & kLowMask);
  const __m256i half = _mm256_set1_epi32(1 << (BoxKernel::kBits - 1));
  const auto weigh = [&](__m256i pairs) {
    const __m256i upper = _mm256_slli_epi32(_mm256_madd_epi16(pairs, high), kLowBits);
    const __m256i lower = _mm256_add_epi32(_mm256_madd_epi16(pairs, low), half);
    return _mm256_srli_epi32(_mm256_add_epi32(upper, lower), BoxKernel::kBits);
  };
  const std::int64_t num_lines = kernel.num_lines();
  for (std::int64_t i = 0; i < count; i += 16) {
    const std::int64_t at = std::min(i, count - 16);  // the last sixteen may be made twice
    __m256i inner = load_16(lines[1] + at);
    for (std::int64_t k = 2; k + 1 < num_lines; ++k) {
      inner = _mm256_add_epi16(inner, load_16(lines[k] + at));
    }
    const __m256i outer =
        _mm256_add_epi16(load_16(lines[0] + at), load_16(lines[num_lines - 1] + at));
    const __m256i words = _mm256_packs_epi32(weigh(_mm256_unpacklo_epi16(inner, outer)),
                                             weigh(_mm256_unpackhi_epi16(inner, outer)));
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + at), bytes);
  }
}

constexpr int kPasses = 3;
constexpr std::int64_t kLeastBytes = 16;  // that box_lines works on

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
  const BoxKernel kernel(sigma);
  blur_along_lines(pixels, width, height, channels, kernel);
  blur_along_columns(pixels, width * channels, height, kernel);
}

}  // namespace kiln
