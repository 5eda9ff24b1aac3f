#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace kiln {

/// The orientation (1 to 8) that a TIFF block of EXIF asks for, with or without "Exif\0\0" before it:
/// integers of any type but bytes, either byte order, as Pillow reads it. Nothing if it does not say
/// or is damaged; 1 if what it says is none.
std::optional<int> exif_orientation(std::span<const std::uint8_t> tiff);

/// The orientation that an XMP packet states (tiff:Orientation), which counts where EXIF has none.
std::optional<int> xmp_orientation(std::string_view packet);

}  // namespace kiln
