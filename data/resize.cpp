#include "data/resize.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "data/resize_kernels.h"

namespace kiln {
namespace {

// Lines [first, first + count) of `in` resized to the outputs of `columns`, `stride` bytes apart.
void resize_lines(const Image& in, std::int64_t first, std::int64_t count, const TapTable& columns,
                  std::int64_t stride, std::uint8_t* out) {
  std::int64_t y = 0;
  if (in.channels == 3) {
    // The kernel reads beyond the end of a line: the last two lines of the image are given from a
    // copy that has room.
    std::vector<std::uint8_t> copy(static_cast<std::size_t>(2 * (in.row_bytes() + kLineSlack)));
    for (; y + 2 <= count; y += 2) {
      const std::uint8_t* lines[2] = {in.row(first + y), in.row(first + y + 1)};
      if (first + y + 2 == in.height) {
        for (std::size_t i = 0; i < 2; ++i) {
          std::uint8_t* to =
              copy.data() + static_cast<std::int64_t>(i) * (in.row_bytes() + kLineSlack);
          std::copy_n(lines[i], in.row_bytes(), to);
          lines[i] = to;
        }
      }
      resize_two_lines_rgb(lines[0], lines[1], columns, out + y * stride, out + (y + 1) * stride);
    }
  }
  for (; y < count; ++y) resize_line(in.row(first + y), in.channels, columns, out + y * stride);
}

void copy_lines(const Image& in, std::int64_t first, std::int64_t count, const Box& window,
                std::int64_t stride, std::uint8_t* out) {
  for (std::int64_t y = 0; y < count; ++y) {
    std::copy_n(in.row(first + y) + window.left * in.channels, window.width * in.channels,
                out + y * stride);
  }
}

}  // namespace

void resize_bicubic(const Image& in, std::int64_t width, std::int64_t height, const Box& window,
                    std::uint8_t* out) {
  KILN_CHECK(in.width > 0 && in.height > 0 && width > 0 && height > 0, "an empty image");
  const TapTable columns(in.width, width, window.left, window.width);
  const TapTable rows(in.height, height, window.top, window.height);
  // A pass that would change nothing is left out: its weights could still round.
  const bool keeps_width = width == in.width;
  const bool keeps_height = height == in.height;
  const std::int64_t first = keeps_height ? window.top : rows.first_input();
  const std::int64_t count = (keeps_height ? window.top + window.height : rows.end_input()) - first;

  const std::int64_t row_bytes = window.width * in.channels;
  const std::int64_t stride = (row_bytes + 15) / 16 * 16;
  thread_local std::vector<std::uint8_t> narrow;  // [count, stride]
  narrow.resize(static_cast<std::size_t>(count * stride));
  if (keeps_width) {
    copy_lines(in, first, count, window, stride, narrow.data());
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

Image resize_bicubic(const Image& in, std::int64_t width, std::int64_t height) {
  Image out(width, height, in.channels);
  resize_bicubic(in, width, height, {0, 0, width, height}, out.pixels.data());
  return out;
}

}  // namespace kiln
