#pragma once

#include <cstdint>

#include "data/images/image.h"

namespace kiln {

/// Blurs of a picture [height, width, channels] in place. Thread-safe; buffers are kept per thread.

/// Pillow's ImageFilter.GaussianBlur(radius = sigma): three box blurs along lines, then three along
/// columns, edge pixels repeated, each rounded to 8 bits. Equal to the last bit.
///
/// The box has variance sigma^2 / 3. It weighs 1 within l, a at l + 1, and is divided by
/// 2 l + 1 + 2 a (Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box
/// filtering", SSVM 2011), in fixed point with 24 fractional bits.
void blur_pillow(std::uint8_t* pixels, std::int64_t width, std::int64_t height,
                 std::int64_t channels, double sigma);

/// What is seen beyond the edge: pixels mirrored at it (the outermost not repeated), or black.
enum class BlurEdge { kMirrored, kBlack };

/// The Gaussian itself, exp(-x^2 / 2 sigma^2) at `taps` (odd) whole x, normalised. kMirrored is
/// torchvision's gaussian_blur, kBlack that of SimCLR, whose borders darken.
///
/// Weights have 14 fractional bits and the values between the two passes 7: within one grey level
/// of the exact result. Throws Error(kUsage) where a mirrored edge has no `taps` / 2 pixels to show.
void blur_gaussian(std::uint8_t* pixels, std::int64_t width, std::int64_t height,
                   std::int64_t channels, double sigma, std::int64_t taps, BlurEdge edge);

}  // namespace kiln
