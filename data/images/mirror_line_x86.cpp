#include <immintrin.h>

#include <cstring>

#include "data/images/mirror.h"

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

}  // namespace kiln
