#include "data/images/mirror.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace kiln {

void mirror_line(const std::uint8_t* in, std::int64_t width, std::int64_t channels,
                 std::uint8_t* out) {
  const std::uint8_t* from = in + width * channels;  // the end of what is left
  std::int64_t left = width;
  if (channels == 3) {
    // Five pixels at a time: the 15 bytes before `from`, and one more, which is not used.
    constexpr char z = -1;
    const __m128i backwards = _mm_setr_epi8(13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, z);
    for (; left > 5; left -= 5, from -= 15, out += 15) {
      const __m128i pixels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from - 16));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_shuffle_epi8(pixels, backwards));
    }
  }
  for (; left > 0; --left, out += channels) {
    from -= channels;
    std::memcpy(out, from, static_cast<std::size_t>(channels));
  }
}

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
