#include "data/images/decode.h"

#include <array>
#include <cstring>

#include "core/base/error.h"

namespace kiln {
namespace {

bool begins_with(std::span<const std::uint8_t> file, std::initializer_list<std::uint8_t> magic) {
  return file.size() >= magic.size() && std::equal(magic.begin(), magic.end(), file.begin());
}

std::unique_ptr<ImageDecoder::Format> open_format(std::span<const std::uint8_t> file) {
  if (begins_with(file, {0xFF, 0xD8, 0xFF})) return open_jpeg(file);
  if (begins_with(file, {0x89, 'P', 'N', 'G'})) return open_png(file);
  throw data_error("neither a JPEG nor a PNG file");
}

}  // namespace

ImageDecoder::ImageDecoder(std::span<const std::uint8_t> file)
    : format_(open_format(file)), size_(format_->stored_size()) {}

ImageView ImageDecoder::decode(const Box& region, std::int64_t channels, Image& memory) {
  const int orientation = format_->orientation();
  if (orientation == 1) return format_->decode(region, channels, memory);
  const Box stored = stored_box(region, orientation, size_);
  memory = apply_orientation(format_->decode(stored, channels, memory), orientation);
  return memory;
}

Image ImageDecoder::decode(std::int64_t channels) {
  Image memory;
  return copy_of(decode({0, 0, width(), height()}, channels, memory));
}

// TIFF inside EXIF: byte order, offset of the first directory, whose entries are (tag, type, count,
// value) of 12 bytes. Tag 0x112 is the orientation, a 16-bit integer.
int exif_orientation(std::span<const std::uint8_t> exif) {
  constexpr std::array<std::uint8_t, 6> kHeader = {'E', 'x', 'i', 'f', 0, 0};
  if (exif.size() < 14 || !std::equal(kHeader.begin(), kHeader.end(), exif.begin())) return 1;
  const std::span<const std::uint8_t> tiff = exif.subspan(6);
  const bool is_little = tiff[0] == 'I';
  const auto integer = [&](std::size_t at, std::size_t size) {
    std::size_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      value = value << 8 | tiff[is_little ? at + size - 1 - i : at + i];
    }
    return value;
  };
  const std::size_t directory = integer(4, 4);
  if (directory + 2 > tiff.size()) return 1;
  const std::size_t num_entries = integer(directory, 2);
  for (std::size_t i = 0; i < num_entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) return 1;
    if (integer(entry, 2) != 0x112) continue;
    const std::size_t orientation = integer(entry + 8, 2);
    return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1;
  }
  return 1;
}

namespace {

// How a shown pixel is found among the stored ones: swap x and y, then mirror.
struct Turn {
  bool transpose;
  bool mirror_x;  // of the stored image
  bool mirror_y;
};
constexpr std::array<Turn, 9> kTurns = {{{false, false, false},
                                         {false, false, false},
                                         {false, true, false},
                                         {false, true, true},
                                         {false, false, true},
                                         {true, false, false},
                                         {true, false, true},
                                         {true, true, true},
                                         {true, true, false}}};

}  // namespace

Image apply_orientation(const ImageView& stored, int orientation) {
  const Turn turn = kTurns[static_cast<std::size_t>(orientation)];
  Image shown(turn.transpose ? stored.height : stored.width,
              turn.transpose ? stored.width : stored.height, stored.channels);
  for (std::int64_t y = 0; y < shown.height; ++y) {
    for (std::int64_t x = 0; x < shown.width; ++x) {
      std::int64_t from_x = turn.transpose ? y : x;
      std::int64_t from_y = turn.transpose ? x : y;
      if (turn.mirror_x) from_x = stored.width - 1 - from_x;
      if (turn.mirror_y) from_y = stored.height - 1 - from_y;
      std::memcpy(shown.row(y) + x * shown.channels, stored.row(from_y) + from_x * stored.channels,
                  static_cast<std::size_t>(stored.channels));
    }
  }
  return shown;
}

Box stored_box(const Box& shown, int orientation, const Box& size) {
  const Turn turn = kTurns[static_cast<std::size_t>(orientation)];
  Box box = shown;
  if (turn.transpose) box = {shown.top, shown.left, shown.height, shown.width};
  if (turn.mirror_x) box.left = size.width - box.left - box.width;
  if (turn.mirror_y) box.top = size.height - box.top - box.height;
  return box;
}

}  // namespace kiln
