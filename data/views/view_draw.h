#pragma once

#include <array>
#include <cstdint>

#include "data/images/image.h"
#include "data/view_options.h"

namespace kiln {

/// What chance decided for one view of one sample.
struct ViewDraw {
  enum Change { kBrightness, kContrast, kSaturation, kHue };

  Box region;  // of the picture
  bool is_mirrored = false;
  bool is_jittered = false;
  std::array<Change, 4> order = {kBrightness, kContrast, kSaturation, kHue};
  std::array<float, 4> amounts = {1.0f, 1.0f, 1.0f, 0.0f};  // by Change: factors, turns of hue
  bool is_grey = false;
  double blur_sigma = 0.0;  // 0: no blur
  bool is_solarised = false;
};

/// A pure function of its arguments: words of Philox(seed, kAugment, position), of which view v
/// (0, 1, ... over all groups) has blocks 16 v to 16 v + 15:
///   0-9  crop, as random_resized_crop
///   10   flip, jitter, grey, blur     against their probabilities
///   11   brightness, contrast, saturation, hue
///   12   order (three words), sigma
///   13   solarise
ViewDraw draw_view(const ViewOptions& options, std::uint64_t seed, std::int64_t position,
                   std::int64_t view, std::int64_t width, std::int64_t height);

}  // namespace kiln
