#include <webp/decode.h>

#include <cstring>
#include <optional>
#include <string_view>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/images/orientation.h"
#include "data/importers/other_pictures.h"

namespace kiln {
namespace {

/// The content of a chunk of the file; empty if there is none.
std::span<const std::uint8_t> chunk(std::span<const std::uint8_t> file, std::string_view name) {
  constexpr std::size_t kHeader = 8;
  std::size_t at = 12;  // behind "RIFF", the length and "WEBP"
  while (at + kHeader <= file.size()) {
    const std::uint8_t* header = file.data() + at;
    const std::size_t size =
        header[4] | header[5] << 8 | header[6] << 16 | static_cast<std::size_t>(header[7]) << 24;
    if (size > file.size() - at - kHeader) return {};
    if (std::memcmp(header, name.data(), 4) == 0) return file.subspan(at + kHeader, size);
    at += kHeader + size + size % 2;
  }
  return {};
}

int orientation_of(std::span<const std::uint8_t> file) {
  const auto xmp = chunk(file, "XMP ");
  return exif_orientation(chunk(file, "EXIF"))
      .value_or(
          xmp_orientation({reinterpret_cast<const char*>(xmp.data()), xmp.size()}).value_or(1));
}

}  // namespace

bool is_webp(std::span<const std::uint8_t> file) {
  return file.size() >= 12 && std::memcmp(file.data(), "RIFF", 4) == 0 &&
         std::memcmp(file.data() + 8, "WEBP", 4) == 0;
}

Image decode_webp(std::span<const std::uint8_t> file, std::int64_t max_pixels) {
  WebPBitstreamFeatures features = {};
  if (WebPGetFeatures(file.data(), file.size(), &features) != VP8_STATUS_OK) {
    throw data_error("a WebP file that is damaged or cut short");
  }
  if (features.has_animation != 0) {
    throw data_error("an animated WebP file: store one of its pictures as a file of its own");
  }
  check_pixels(features.width, features.height, max_pixels);
  Image image(features.width, features.height, 3);
  if (WebPDecodeRGBInto(file.data(), file.size(), image.pixels.data(), image.pixels.size(),
                        static_cast<int>(image.row_bytes())) == nullptr) {
    throw data_error("a WebP file that is damaged or cut short");
  }
  const int orientation = orientation_of(file);
  return orientation == 1 ? image : apply_orientation(image, orientation);
}

}  // namespace kiln
