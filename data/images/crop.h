#pragma once

#include <cstdint>
#include <vector>

#include "core/base/philox.h"
#include "data/images/image.h"

namespace kiln {

/// How an image becomes the model's input: `region` of the source is resized to `width` x `height`,
/// of which `window` is kept, from right to left if mirrored.
struct Framing {
  Box region;
  std::int64_t width = 0;
  std::int64_t height = 0;
  Box window;
  bool is_mirrored = false;
};

/// The crop of torchvision's RandomResizedCrop, which MAE and most others train with: ten tries to
/// draw a share of the area (uniform in `scale`) and a ratio of width to height (log-uniform in
/// `ratio`) that fit, then a place for it; failing these, the largest centred box of a ratio
/// allowed.
///
/// Try t uses the four words of the stream's block first_block + t: area, ratio, top, left.
Box random_resized_crop(const Philox& stream, std::int64_t width, std::int64_t height,
                        const std::vector<double>& scale, const std::vector<double>& ratio,
                        std::uint64_t first_block = 0);

constexpr std::uint64_t kCropTries = 10;

/// The whole image to size x size.
Framing frame_region(const Box& region, std::int64_t size);

/// For evaluation: the shorter side is scaled to size / 0.875 and the middle size x size is kept,
/// as by torchvision's Resize and CenterCrop. An image that has size x size pixels is kept whole.
Framing frame_center(std::int64_t width, std::int64_t height, std::int64_t size);

}  // namespace kiln
