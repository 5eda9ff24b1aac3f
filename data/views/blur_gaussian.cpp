#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "core/base/error.h"
#include "data/views/blur.h"
#include "data/views/passes.h"

namespace kiln {
namespace {

GaussianWeights gaussian_weights(double sigma, std::int64_t reach) {
  std::vector<double> exact(static_cast<std::size_t>(reach + 1));
  double sum = 0.0;
  for (std::size_t x = 0; x < exact.size(); ++x) {
    const double scaled = static_cast<double>(x) / sigma;
    exact[x] = std::exp(-0.5 * scaled * scaled);
    sum += x == 0 ? exact[x] : 2.0 * exact[x];
  }
  GaussianWeights weights;
  std::int32_t outside = 0;
  for (const double weight : exact) {
    weights.push_back(static_cast<std::int32_t>(std::lround(weight / sum * (1 << kWeightBits))));
    if (weights.size() > 1) outside += 2 * weights.back();
  }
  weights[0] = (1 << kWeightBits) - outside;
  return weights;
}

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
               BlurEdge edge, GaussianWeights weights)
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
      weigh_lines(lines_.data(), weights_, stride_, narrow);
    }
  }

  void along_columns(const std::int16_t* narrow) {
    const std::vector<std::int16_t> black(static_cast<std::size_t>(stride_));
    for (std::int64_t y = 0; y < height_; ++y) {
      for (std::int64_t k = 0; k <= 2 * reach_; ++k) {
        const std::int64_t row = seen_at(y + k - reach_, height_, edge_);
        lines_[static_cast<std::size_t>(k)] = row < 0 ? black.data() : narrow + row * stride_;
      }
      weigh_lines(lines_.data(), weights_, row_, pixels_ + y * row_);
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
  GaussianWeights weights_;
  std::int64_t reach_, row_, stride_;
  std::vector<const std::int16_t*> lines_;
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
