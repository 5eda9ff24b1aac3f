#pragma once

#include <png.h>

#include <cstdint>
#include <vector>

#include "data/images/image.h"

namespace kiln {

/// A PNG file of an image of 1 or 3 channels.
inline std::vector<std::uint8_t> encode_png(const Image& image) {
  png_image info = {};
  info.version = PNG_IMAGE_VERSION;
  info.width = static_cast<png_uint_32>(image.width);
  info.height = static_cast<png_uint_32>(image.height);
  info.format = image.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(info);
  std::vector<std::uint8_t> bytes(size);
  png_image_write_to_memory(&info, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr);
  bytes.resize(size);
  return bytes;
}

/// The JPEG file with an EXIF block that holds nothing but an orientation.
inline std::vector<std::uint8_t> with_exif_orientation(const std::vector<std::uint8_t>& jpeg,
                                                       std::uint8_t orientation) {
  const std::vector<std::uint8_t> block = {
      0xFF, 0xE1, 0,   34,               // APP1, length
      'E',  'x',  'i', 'f', 0, 0,        //
      'M',  'M',  0,   42,  0, 0, 0, 8,  // big-endian TIFF, first directory at 8
      0,    1,                           // one entry
      0x01, 0x12, 0,   3,   0, 0, 0, 1, 0, orientation, 0, 0,  // orientation: one 16-bit integer
      0,    0,    0,   0};                                     // no further directory
  std::vector<std::uint8_t> file(jpeg.begin(), jpeg.begin() + 2);
  file.insert(file.end(), block.begin(), block.end());
  file.insert(file.end(), jpeg.begin() + 2, jpeg.end());
  return file;
}

}  // namespace kiln
