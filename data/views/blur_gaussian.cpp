#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "core/base/error.h"
#include "data/views/blur.h"

namespace kiln {
namespace {

// Weights of the middle and of each distance from it; they add up to 1 with 14 fractional bits.
constexpr int kWeightBits = 14;
constexpr int kMiddleBits = 7;  // fractional bits between the passes

std::vector<std::int32_t> gaussian_weights(double sigma, std::int64_t reach) {
  std::vector<double> exact(static_cast<std::size_t>(reach + 1));
  double sum = 0.0;
  for (std::size_t x = 0; x < exact.size(); ++x) {
    const double scaled = static_cast<double>(x) / sigma;
    exact[x] = std::exp(-0.5 * scaled * scaled);
    sum += x == 0 ? exact[x] : 2.0 * exact[x];
  }
  std::vector<std::int32_t> weights;
  std::int32_t outside = 0;
  for (const double weight : exact) {
    weights.push_back(static_cast<std::int32_t>(std::lround(weight / sum * (1 << kWeightBits))));
    if (weights.size() > 1) outside += 2 * weights.back();
  }
  weights[0] = (1 << kWeightBits) - outside;
  return weights;
}

using Line = const std::int16_t*;

struct Sums {
  __m256i first, second;  // columns 0-3 8-11 | 4-7 12-15
};

// At 16 columns, the sum over lines[k] of weights[|k - reach|] * lines[k]: 2 reach + 1 lines.
Sums weigh(const Line* lines, const std::vector<std::int32_t>& weights, std::int64_t at) {
  const auto reach = std::ssize(weights) - 1;
  const auto load = [&](std::int64_t line) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lines[line] + at));
  };
  Sums sums = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  const auto add = [&](__m256i a, __m256i b, std::int32_t weight) {
    const __m256i both = _mm256_set1_epi16(static_cast<std::int16_t>(weight));
    sums.first = _mm256_add_epi32(sums.first, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), both));
    sums.second =
        _mm256_add_epi32(sums.second, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), both));
  };
  add(load(reach), _mm256_setzero_si256(), weights[0]);
  for (std::int64_t k = 1; k <= reach; ++k) {
    add(load(reach - k), load(reach + k), weights[static_cast<std::size_t>(k)]);
  }
  return sums;
}

template <int kBits>
__m256i round_off(const Sums& sums) {
  const auto round = [](__m256i sum) {
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (kBits - 1))), kBits);
  };
  return _mm256_packs_epi32(round(sums.first), round(sums.second));
}

constexpr std::int64_t kLanes = 16;

std::int64_t whole_lanes(std::int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// The pixel that stands for one beyond the edge; -1: black.
std::int64_t seen_at(std::int64_t place, std::int64_t size, BlurEdge edge) {
  if (place >= 0 && place < size) return place;
  if (edge == BlurEdge::kBlack) return -1;
  return place < 0 ? -place : 2 * (size - 1) - place;
}

class GaussianBlur {
 public:
  GaussianBlur(std::uint8_t* pixels, std::int64_t width, std::int64_t height, std::int64_t channels,
               BlurEdge edge, std::vector<std::int32_t> weights)
      : pixels_(pixels),
        width_(width),
        height_(height),
        channels_(channels),
        edge_(edge),
        weights_(std::move(weights)),
        reach_(std::ssize(weights_) - 1),
        row_(width * channels),
        stride_(whole_lanes(row_)),
        lines_(static_cast<std::size_t>(2 * reach_ + 1)) {}

  // From pixels to values with kMiddleBits fractional bits: [height, stride].
  void along_lines(std::int16_t* narrow) {
    const std::int64_t margin = reach_ * channels_;
    std::vector<std::int16_t> padded(static_cast<std::size_t>(stride_ + 2 * margin));
    std::int16_t* const first = padded.data() + margin;
    for (std::size_t k = 0; k < lines_.size(); ++k) {
      lines_[k] = padded.data() + static_cast<std::int64_t>(k) * channels_;
    }
    for (std::int64_t y = 0; y < height_; ++y, narrow += stride_) {
      const std::uint8_t* from = pixels_ + y * row_;
      std::copy_n(from, row_, first);
      for (std::int64_t i = 1; i <= reach_; ++i) {
        copy_pixel(from, -i, first);
        copy_pixel(from, width_ - 1 + i, first);
      }
      for (std::int64_t x = 0; x < stride_; x += kLanes) {
        _mm256_storeu_si256(
            reinterpret_cast<__m256i*>(narrow + x),
            round_off<kWeightBits - kMiddleBits>(weigh(lines_.data(), weights_, x)));
      }
    }
  }

  void along_columns(const std::int16_t* narrow) {
    const std::vector<std::int16_t> black(static_cast<std::size_t>(stride_));
    for (std::int64_t y = 0; y < height_; ++y) {
      for (std::int64_t k = 0; k <= 2 * reach_; ++k) {
        const std::int64_t row = seen_at(y + k - reach_, height_, edge_);
        lines_[static_cast<std::size_t>(k)] = row < 0 ? black.data() : narrow + row * stride_;
      }
      std::uint8_t* out = pixels_ + y * row_;
      for (std::int64_t x = 0; x < row_; x += kLanes) {
        const __m256i words =
            round_off<kWeightBits + kMiddleBits>(weigh(lines_.data(), weights_, x));
        alignas(16) std::uint8_t bytes[kLanes];
        _mm_store_si128(
            reinterpret_cast<__m128i*>(bytes),
            _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
        std::copy_n(bytes, std::min(kLanes, row_ - x), out + x);
      }
    }
  }

  std::int64_t narrow_size() const { return height_ * stride_; }

 private:
  void copy_pixel(const std::uint8_t* from, std::int64_t place, std::int16_t* first) const {
    const std::int64_t seen = seen_at(place, width_, edge_);
    for (std::int64_t c = 0; c < channels_; ++c) {
      first[place * channels_ + c] = seen < 0 ? 0 : from[seen * channels_ + c];
    }
  }

  std::uint8_t* pixels_;
  std::int64_t width_, height_, channels_;
  BlurEdge edge_;
  std::vector<std::int32_t> weights_;
  std::int64_t reach_, row_, stride_;
  std::vector<Line> lines_;
};

}  // namespace

void blur_gaussian(std::uint8_t* pixels, std::int64_t width, std::int64_t height,
                   std::int64_t channels, double sigma, std::int64_t taps, BlurEdge edge) {
  KILN_CHECK(taps > 0 && taps % 2 == 1 && sigma > 0, "{} taps, sigma {}", taps, sigma);
  const std::int64_t reach = taps / 2;
  if (edge == BlurEdge::kMirrored && reach >= std::min(width, height)) {
    throw usage_error("a blur of {} taps mirrors {} pixels at the edges of a view of {} x {}", taps,
                      reach, width, height);
  }
  GaussianBlur blur(pixels, width, height, channels, edge, gaussian_weights(sigma, reach));
  thread_local std::vector<std::int16_t> narrow;
  narrow.resize(static_cast<std::size_t>(blur.narrow_size()));
  blur.along_lines(narrow.data());
  blur.along_columns(narrow.data());
}

}  // namespace kiln
