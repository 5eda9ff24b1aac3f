#include "data/resize.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "data/resize_kernels.h"

namespace kiln {
namespace {

// Lines [first, first + count) of `in` resized to the outputs of `columns`, `stride` bytes apart.
void resize_lines(const ImageView& in, std::int64_t first, std::int64_t count,
                  const TapTable& columns, std::int64_t stride, std::uint8_t* out) {
  if (in.channels != 3) {
    for (std::int64_t y = 0; y < count; ++y) {
      resize_line(in.row(first + y), in.channels, columns, out + y * stride);
    }
    return;
  }
  // The kernel reads beyond the end of a line: the last lines are given from copies that have room.
  const std::uint8_t* end = in.row(in.height - 1) + in.row_bytes();
  std::vector<std::uint8_t> copies[2];
  for (std::int64_t y = 0; y < count; y += 2) {
    const std::uint8_t* from[2];
    std::uint8_t* to[2];
    for (std::size_t i = 0; i < 2; ++i) {  // an odd last line is made twice
      const std::int64_t line = std::min(y + static_cast<std::int64_t>(i), count - 1);
      from[i] = in.row(first + line);
      to[i] = out + line * stride;
      if (end - from[i] < in.row_bytes() + kLineSlack) {
        copies[i].assign(from[i], from[i] + in.row_bytes());
        copies[i].resize(static_cast<std::size_t>(in.row_bytes() + kLineSlack));
        from[i] = copies[i].data();
      }
    }
    resize_two_lines_rgb(from[0], from[1], columns, to[0], to[1]);
  }
}

void copy_lines(const ImageView& in, std::int64_t first, std::int64_t count, const Box& window,
                bool is_mirrored, std::int64_t stride, std::uint8_t* out) {
  for (std::int64_t y = 0; y < count; ++y) {
    const std::uint8_t* from = in.row(first + y) + window.left * in.channels;
    if (is_mirrored) {
      mirror_line(from, window.width, in.channels, out + y * stride);
    } else {
      std::copy_n(from, window.width * in.channels, out + y * stride);
    }
  }
}

}  // namespace

void resize_bicubic(const ImageView& in, std::int64_t width, std::int64_t height, const Box& window,
                    bool is_mirrored, std::uint8_t* out) {
  KILN_CHECK(in.width > 0 && in.height > 0 && width > 0 && height > 0, "an empty image");
  // A pass that would change nothing is left out: its weights could still round.
  const bool keeps_width = width == in.width;
  const bool keeps_height = height == in.height;
  const std::int64_t row_bytes = window.width * in.channels;
  if (keeps_width && keeps_height) {
    return copy_lines(in, window.top, window.height, window, is_mirrored, row_bytes, out);
  }
  TapTable columns(in.width, width, window.left, window.width);
  if (is_mirrored) std::ranges::reverse(columns.taps);
  const TapTable rows(in.height, height, window.top, window.height);
  const std::int64_t first = keeps_height ? window.top : rows.first_input();
  const std::int64_t count = (keeps_height ? window.top + window.height : rows.end_input()) - first;

  const std::int64_t stride = (row_bytes + kResultSlack + 15) / 16 * 16;
  thread_local std::vector<std::uint8_t> narrow;  // [count, stride]
  narrow.resize(static_cast<std::size_t>(count * stride));
  if (keeps_width) {
    copy_lines(in, first, count, window, is_mirrored, stride, narrow.data());
  } else {
    resize_lines(in, first, count, columns, stride, narrow.data());
  }
  for (std::int64_t y = 0; y < window.height; ++y, out += row_bytes) {
    if (keeps_height) {
      std::memcpy(out, narrow.data() + y * stride, static_cast<std::size_t>(row_bytes));
    } else {
      const Taps& taps = rows.taps[static_cast<std::size_t>(y)];
      combine_lines(narrow.data() + (taps.first - first) * stride, stride, taps, rows, row_bytes,
                    out);
    }
  }
}

Image resize_bicubic(const ImageView& in, std::int64_t width, std::int64_t height) {
  Image out(width, height, in.channels);
  resize_bicubic(in, width, height, {0, 0, width, height}, false, out.pixels.data());
  return out;
}

}  // namespace kiln
