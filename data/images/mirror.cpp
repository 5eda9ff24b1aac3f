#include "data/images/mirror.h"

#include <algorithm>
#include <vector>

namespace kiln {

void mirror_lines(std::uint8_t* pixels, std::int64_t height, std::int64_t width,
                  std::int64_t channels) {
  const std::int64_t line_bytes = width * channels;
  thread_local std::vector<std::uint8_t> line;
  line.resize(static_cast<std::size_t>(line_bytes));
  for (std::int64_t y = 0; y < height; ++y, pixels += line_bytes) {
    std::copy_n(pixels, line_bytes, line.data());
    mirror_line(line.data(), width, channels, pixels);
  }
}

}  // namespace kiln
