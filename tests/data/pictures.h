#pragma once

#include <cstdint>
#include <vector>

#include "data/images/decode.h"

namespace kiln {

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
