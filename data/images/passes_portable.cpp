#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/error.h"
#include "data/images/mirror.h"
#include "data/images/resize_passes.h"

// The passes over images in plain loops, for processors other than x86-64: the same bits.

namespace kiln {
namespace {

constexpr std::int32_t kHalf = 1 << (TapTable::kPrecisionBits - 1);

std::uint8_t finish(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> TapTable::kPrecisionBits, 0, 255));
}

}  // namespace

void mirror_line(const std::uint8_t* in, std::int64_t width, std::int64_t channels,
                 std::uint8_t* out) {
  for (const std::uint8_t* from = in + width * channels; from != in; out += channels) {
    from -= channels;
    std::memcpy(out, from, static_cast<std::size_t>(channels));
  }
}

void resize_in_pairs(const ImageView& in, const TapTable& columns, const TapTable& rows,
                     std::uint8_t* out) {
  const std::int64_t row_bytes = columns.size() * in.channels;
  const std::int64_t first = rows.first_input();
  thread_local std::vector<std::uint8_t> narrow;  // [lines, columns, channels]
  narrow.resize(static_cast<std::size_t>((rows.end_input() - first) * row_bytes));
  std::uint8_t* to = narrow.data();
  for (std::int64_t y = first; y < rows.end_input(); ++y) {
    for (const Taps& taps : columns.taps) {
      for (std::int64_t c = 0; c < in.channels; ++c) {
        const std::uint8_t* from = in.row(y) + taps.first * in.channels + c;
        std::int32_t sum = kHalf;
        for (std::int64_t k = 0; k < taps.count; ++k)
          sum += from[k * in.channels] * taps.weights[k];
        *to++ = finish(sum);
      }
    }
  }
  std::vector<std::int32_t> sums(static_cast<std::size_t>(row_bytes));
  for (const Taps& taps : rows.taps) {
    std::ranges::fill(sums, kHalf);
    for (std::int64_t k = 0; k < taps.count; ++k) {
      const std::uint8_t* line = narrow.data() + (taps.first + k - first) * row_bytes;
      for (std::int64_t x = 0; x < row_bytes; ++x) {
        sums[static_cast<std::size_t>(x)] += line[x] * taps.weights[k];
      }
    }
    for (const std::int32_t sum : sums) *out++ = finish(sum);
  }
}

bool can_resize_in_quads(const ImageView&, const TapTable&) { return false; }

void resize_in_quads(const ImageView&, const TapTable&, const TapTable&, std::uint8_t*) {
  KILN_CHECK(false, "this processor has no such instructions");
}

}  // namespace kiln
