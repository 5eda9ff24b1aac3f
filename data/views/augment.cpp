#include "data/views/augment.h"

#include "data/images/resize.h"
#include "data/views/blur.h"
#include "data/views/colour.h"

namespace kiln {
namespace {

void jitter(const Pixels& pixels, const ViewOptions& options, const ViewDraw& draw) {
  for (const ViewDraw::Change change : draw.order) {
    const auto which = static_cast<std::size_t>(change);
    if (options.jitter[which] == 0.0) continue;
    const float amount = draw.amounts[which];
    switch (change) {
      case ViewDraw::kBrightness:
        adjust_brightness(pixels, amount);
        break;
      case ViewDraw::kContrast:
        adjust_contrast(pixels, amount);
        break;
      case ViewDraw::kSaturation:
        adjust_saturation(pixels, amount);
        break;
      case ViewDraw::kHue:
        adjust_hue(pixels, amount);
        break;
    }
  }
}

void blur(const Pixels& pixels, const ViewOptions& options, double sigma) {
  const std::int64_t size = options.size;
  if (options.blur_kind == "pillow") {
    blur_pillow(pixels.data, size, size, pixels.channels, sigma);
  } else {
    const BlurEdge edge =
        options.blur_kind == "gaussian_black" ? BlurEdge::kBlack : BlurEdge::kMirrored;
    blur_gaussian(pixels.data, size, size, pixels.channels, sigma, options.blur_taps(), edge);
  }
}

}  // namespace

void make_view(const ImageView& region, const ViewOptions& options, const ViewDraw& draw,
               std::uint8_t* out) {
  const std::int64_t size = options.size;
  const Filter filter = options.interpolation == "bilinear" ? Filter::kBilinear : Filter::kBicubic;
  resize(region, size, size, filter, {0, 0, size, size}, draw.is_mirrored, out);
  const Pixels pixels = {out, size * size, region.channels};
  if (draw.is_jittered) jitter(pixels, options, draw);
  if (draw.is_grey) make_grey(pixels);
  if (draw.blur_sigma > 0.0) blur(pixels, options, draw.blur_sigma);
  if (draw.is_solarised) solarise(pixels, options.solarise_threshold);
}

}  // namespace kiln
