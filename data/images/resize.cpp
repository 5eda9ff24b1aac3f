#include "data/images/resize.h"

#include <algorithm>

#include "core/base/error.h"
#include "data/images/mirror.h"
#include "data/images/resize_passes.h"

namespace kiln {
namespace {

void copy_window(const ImageView& in, const Box& window, bool is_mirrored, std::uint8_t* out) {
  const std::int64_t row_bytes = window.width * in.channels;
  for (std::int64_t y = 0; y < window.height; ++y, out += row_bytes) {
    const std::uint8_t* from = in.row(window.top + y) + window.left * in.channels;
    if (is_mirrored) {
      mirror_line(from, window.width, in.channels, out);
    } else {
      std::copy_n(from, row_bytes, out);
    }
  }
}

}  // namespace

void resize(const ImageView& in, std::int64_t width, std::int64_t height, Filter filter,
            const Box& window, bool is_mirrored, std::uint8_t* out) {
  KILN_CHECK(in.width > 0 && in.height > 0 && width > 0 && height > 0, "an empty image");
  if (width == in.width && height == in.height) return copy_window(in, window, is_mirrored, out);
  // Where one side keeps its size, its weights are exactly 0 and 1.
  TapTable columns(in.width, width, window.left, window.width, filter);
  if (is_mirrored) std::ranges::reverse(columns.taps);
  const TapTable rows(in.height, height, window.top, window.height, filter);
  if (can_resize_in_quads(in, columns)) {
    resize_in_quads(in, columns, rows, out);
  } else {
    resize_in_pairs(in, columns, rows, out);
  }
}

Image resize_bicubic(const ImageView& in, std::int64_t width, std::int64_t height) {
  Image out(width, height, in.channels);
  resize(in, width, height, Filter::kBicubic, {0, 0, width, height}, false, out.pixels.data());
  return out;
}

}  // namespace kiln
