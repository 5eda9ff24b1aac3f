#pragma once

#include <cstdint>
#include <span>

#include "data/images/image.h"

namespace kiln {

// Pictures in formats that datasets do not hold: an import turns them into PNG. Each function throws
// Error(kData) for a damaged file, one of more than `max_pixels`, and for what it does not read, with
// the reason. Orientation is applied, alpha is dropped; 1 or 3 channels of 8 bits.

bool is_webp(std::span<const std::uint8_t> file);
/// Still pictures, lossy or not.
Image decode_webp(std::span<const std::uint8_t> file, std::int64_t max_pixels);

bool is_tiff(std::span<const std::uint8_t> file);
/// One page of grey, RGB or YCbCr with 8 bits a value, or of one bit; compressed in any way libtiff
/// knows.
Image decode_tiff(std::span<const std::uint8_t> file, std::int64_t max_pixels);

bool is_bmp(std::span<const std::uint8_t> file);
/// 1, 4 or 8 bits with a palette, 24 or 32 bits; uncompressed.
Image decode_bmp(std::span<const std::uint8_t> file, std::int64_t max_pixels);

}  // namespace kiln
