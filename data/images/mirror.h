#pragma once

#include <cstdint>

namespace kiln {

/// The pixels of a line from right to left, each with its channels in order; not in place.
void mirror_line(const std::uint8_t* in, std::int64_t width, std::int64_t channels,
                 std::uint8_t* out);

/// All lines of pixels [height, width, channels], in place.
void mirror_lines(std::uint8_t* pixels, std::int64_t height, std::int64_t width,
                  std::int64_t channels);

}  // namespace kiln
