#pragma once

#include <cstdint>

#include "data/images/image.h"
#include "data/images/taps.h"

namespace kiln {

/// Resizes `in` to width x height with an antialiased filter and writes the pixels of `window` of the result to `out` [window.height, window.width, channels], from right to
/// left if mirrored.
///
/// Arithmetic as in Pillow's Image.resize(BILINEAR or BICUBIC): columns first, weights in 22-bit fixed point,
/// each pass rounded to 8 bits. Results are equal to the last bit.
void resize(const ImageView& in, std::int64_t width, std::int64_t height, Filter filter,
            const Box& window, bool is_mirrored, std::uint8_t* out);

/// The whole result of the bicubic filter.
Image resize_bicubic(const ImageView& in, std::int64_t width, std::int64_t height);

}  // namespace kiln
