#include "data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"

namespace kiln {
namespace {

constexpr int kPrecisionBits = 22;
constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

// Which inputs make an output, and with what weights.
struct Taps {
  std::int64_t first = 0;
  std::int64_t count = 0;
  const std::int32_t* weights = nullptr;
};

class Filter {
 public:
  // Outputs [begin, begin + count) of a line of in_size values stretched to out_size.
  Filter(std::int64_t in_size, std::int64_t out_size, std::int64_t begin, std::int64_t count) {
    const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
    const double stretch = std::max(scale, 1.0);
    const double support = 2.0 * stretch;
    width_ = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
    weights_.resize(static_cast<std::size_t>(count * width_));
    std::vector<double> exact(static_cast<std::size_t>(width_));
    for (std::int64_t i = 0; i < count; ++i) {
      const double center = (static_cast<double>(begin + i) + 0.5) * scale;
      const auto first =
          std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
      const auto end = std::min(static_cast<std::int64_t>(center + support + 0.5), in_size);
      double sum = 0.0;
      for (std::int64_t x = first; x < end; ++x) {
        const double w = bicubic((static_cast<double>(x) - center + 0.5) * (1.0 / stretch));
        exact[static_cast<std::size_t>(x - first)] = w;
        sum += w;
      }
      std::int32_t* weights = weights_.data() + i * width_;
      for (std::int64_t x = 0; x < end - first; ++x) {
        const double w = exact[static_cast<std::size_t>(x)] / sum * (1 << kPrecisionBits);
        weights[x] = static_cast<std::int32_t>(w < 0.0 ? w - 0.5 : w + 0.5);
      }
      taps_.push_back({first, end - first, weights});
    }
  }
  const Taps& operator[](std::int64_t i) const { return taps_[static_cast<std::size_t>(i)]; }
  std::int64_t first_input() const { return taps_.front().first; }
  std::int64_t end_input() const { return taps_.back().first + taps_.back().count; }

 private:
  std::int64_t width_ = 0;
  std::vector<std::int32_t> weights_;
  std::vector<Taps> taps_;
};

std::uint8_t round_to_8_bits(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

template <int kChannels>
void resize_row(const std::uint8_t* in, const Filter& filter, std::int64_t count,
                std::uint8_t* out) {
  for (std::int64_t x = 0; x < count; ++x, out += kChannels) {
    const Taps& taps = filter[x];
    const std::uint8_t* from = in + taps.first * kChannels;
    std::int32_t sums[kChannels];
    for (std::int32_t& sum : sums) sum = kHalf;
    for (std::int64_t k = 0; k < taps.count; ++k, from += kChannels) {
      for (int c = 0; c < kChannels; ++c) sums[c] += from[c] * taps.weights[k];
    }
    for (int c = 0; c < kChannels; ++c) out[c] = round_to_8_bits(sums[c]);
  }
}

void resize_row(const std::uint8_t* in, const Filter& filter, std::int64_t count,
                std::int64_t channels, std::uint8_t* out) {
  switch (channels) {
    case 1:
      return resize_row<1>(in, filter, count, out);
    case 2:
      return resize_row<2>(in, filter, count, out);
    case 3:
      return resize_row<3>(in, filter, count, out);
    case 4:
      return resize_row<4>(in, filter, count, out);
    default:
      KILN_CHECK(false, "an image of {} channels", channels);
  }
}

// One row of the result out of rows of width `row_bytes`.
void combine_rows(const std::uint8_t* rows, std::int64_t row_bytes, const Taps& taps,
                  std::vector<std::int32_t>& sums, std::uint8_t* out) {
  sums.assign(static_cast<std::size_t>(row_bytes), kHalf);
  for (std::int64_t k = 0; k < taps.count; ++k, rows += row_bytes) {
    const std::int32_t weight = taps.weights[k];
    for (std::int64_t i = 0; i < row_bytes; ++i)
      sums[static_cast<std::size_t>(i)] += rows[i] * weight;
  }
  for (std::int64_t i = 0; i < row_bytes; ++i) {
    out[i] = round_to_8_bits(sums[static_cast<std::size_t>(i)]);
  }
}

}  // namespace

void resize_bicubic(const Image& in, std::int64_t width, std::int64_t height, const Box& window,
                    std::uint8_t* out) {
  KILN_CHECK(in.width > 0 && in.height > 0 && width > 0 && height > 0, "an empty image");
  const Filter columns(in.width, width, window.left, window.width);
  const Filter rows(in.height, height, window.top, window.height);
  const std::int64_t row_bytes = window.width * in.channels;
  // A pass that would change nothing is left out: its weights could still round.
  const bool keeps_width = width == in.width;
  const bool keeps_height = height == in.height;
  const std::int64_t first = keeps_height ? window.top : rows.first_input();
  const std::int64_t end = keeps_height ? window.top + window.height : rows.end_input();

  std::vector<std::uint8_t> narrow(static_cast<std::size_t>((end - first) * row_bytes));
  for (std::int64_t y = first; y < end; ++y) {
    std::uint8_t* to = narrow.data() + (y - first) * row_bytes;
    if (keeps_width) {
      std::memcpy(to, in.row(y) + window.left * in.channels, static_cast<std::size_t>(row_bytes));
    } else {
      resize_row(in.row(y), columns, window.width, in.channels, to);
    }
  }
  if (keeps_height) {
    std::copy(narrow.begin(), narrow.end(), out);
    return;
  }
  std::vector<std::int32_t> sums;
  for (std::int64_t y = 0; y < window.height; ++y, out += row_bytes) {
    const Taps& taps = rows[y];
    combine_rows(narrow.data() + (taps.first - first) * row_bytes, row_bytes, taps, sums, out);
  }
}

Image resize_bicubic(const Image& in, std::int64_t width, std::int64_t height) {
  Image out(width, height, in.channels);
  resize_bicubic(in, width, height, {0, 0, width, height}, out.pixels.data());
  return out;
}

}  // namespace kiln
