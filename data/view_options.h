#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/recipe/options.h"

namespace kiln {

/// A group of views of a picture, [[data.views]]: crops that are drawn and changed alike, each with
/// chance of its own. Changes are made in the order crop, flip, jitter, grey, blur, solarise.
struct ViewOptions {
  std::int64_t count = 1;
  std::int64_t size = 0;
  std::vector<double> scale = {0.08, 1.0};
  std::vector<double> ratio = {3.0 / 4.0, 4.0 / 3.0};
  std::string interpolation = "bicubic";
  double flip = 0.0;
  std::vector<double> jitter = {0.0, 0.0, 0.0, 0.0};
  double jitter_p = 1.0;
  double grey = 0.0;
  double blur = 0.0;
  std::vector<double> blur_sigma = {0.1, 2.0};
  std::string blur_kind = "pillow";
  std::int64_t blur_kernel = 0;
  double solarise = 0.0;
  std::int64_t solarise_threshold = 128;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("count", count, "Views of this group.", kIdentity);
    visit("size", size, "Side of the square view; 0: data.size.", kIdentity);
    visit("scale", scale, "Range of the crop's share of the picture's area.", kIdentity);
    visit("ratio", ratio, "Range of the crop's width / height.", kIdentity);
    visit("interpolation", interpolation, "Of the crop: bicubic | bilinear.", kIdentity);
    visit("flip", flip, "Probability of mirroring, left to right.", kIdentity);
    visit("jitter", jitter,
          "Strengths b, c, s, h: factors of brightness, contrast and saturation within 1 - x to "
          "1 + x (at least 0), turns of hue within -h to h (at most 0.5); in random order.",
          kIdentity);
    visit("jitter_p", jitter_p, "Probability of the jitter.", kIdentity);
    visit("grey", grey, "Probability of grey values in all channels.", kIdentity);
    visit("blur", blur, "Probability of a blur.", kIdentity);
    visit("blur_sigma", blur_sigma, "Range of its standard deviation, in pixels of the view.",
          kIdentity);
    visit("blur_kind", blur_kind,
          "pillow: three box blurs | gaussian: the Gaussian, edges mirrored | gaussian_black: the "
          "Gaussian, "
          "black beyond the edges.",
          kIdentity);
    visit("blur_kernel", blur_kernel,
          "gaussian, gaussian_black: taps, an odd number; 0: about a tenth of the size.",
          kIdentity);
    visit("solarise", solarise, "Probability of inverting the bright values.", kIdentity);
    visit("solarise_threshold", solarise_threshold, "The darkest value (of 255) inverted.",
          kIdentity);
  }

  /// Taps of the Gaussian: blur_kernel, or 2 (size / 20) + 1 (SimCLR's rule) and at least 3.
  std::int64_t blur_taps() const;
  /// What is wrong with the values, each with the key; `name`: "data.views.0". Size is resolved.
  std::vector<std::string> problems(const std::string& name) const;
};

}  // namespace kiln
