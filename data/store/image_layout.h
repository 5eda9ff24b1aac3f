#pragma once

#include <cstdint>
#include <string>

#include "data/store/manifest.h"

namespace kiln {

/// How the rows of an array of pixels are to be understood.
enum class ImageLayout : std::uint8_t { kAuto, kChannelsLast, kChannelsFirst };
/// "auto", "hwc", "chw"; throws Error(kUsage) for anything else.
ImageLayout image_layout_from_name(const std::string& name);

/// Raw images of one form.
struct ImageForm {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 1;
  bool is_channels_first = false;  // [C, H, W]
};

/// What rows of uint8 [H, W], [H, W, C] or [C, H, W] hold. kAuto takes the end of the shape with at
/// most four values for the channels, else the smallest one. Throws Error(kData) that says what to do
/// for other types (floats) and shapes, and where kAuto cannot tell. `what` names the field.
ImageForm image_form(const FieldInfo& field, ImageLayout layout, const std::string& what);

/// One image [C, H, W] to [H, W, C].
void move_channels_last(const ImageForm& form, const std::uint8_t* from, std::uint8_t* to);

}  // namespace kiln
