#include "data/images/decode.h"
#include "data/importers/other_pictures.h"
#include "tests/fuzz/fuzz.h"

// JPEG, PNG, WebP, TIFF and BMP, told by their first bytes as in an import.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kiln;
  constexpr std::int64_t kMost = 1 << 16;  // pixels; keeps a run fast
  const std::span<const std::uint8_t> file(data, size);
  return fuzz([&] {
    if (is_webp(file)) {
      decode_webp(file, kMost);
    } else if (is_tiff(file)) {
      decode_tiff(file, kMost);
    } else if (is_bmp(file)) {
      decode_bmp(file, kMost);
    } else {
      ImageDecoder whole(file, kMost);
      const Image image = whole.decode(whole.channels());
      ImageDecoder part(file, kMost);
      Image memory;
      const Box box = {image.width / 3, image.height / 3, image.width - image.width / 3,
                       image.height - image.height / 3};
      if (copy_of(part.decode(box, image.channels, memory)).width != box.width) std::abort();
      ImageDecoder other(file, kMost);
      other.decode(image.channels == 1 ? 3 : 1);
    }
  });
}
