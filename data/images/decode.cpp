#include "data/images/decode.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "core/base/error.h"

namespace kiln {
namespace {

bool begins_with(std::span<const std::uint8_t> file, std::string_view magic, std::size_t at = 0) {
  return file.size() >= at + magic.size() &&
         std::memcmp(file.data() + at, magic.data(), magic.size()) == 0;
}

struct Magic {
  std::string_view bytes;
  std::size_t at;
  std::string_view name;
};
constexpr std::array<Magic, 12> kMagics = {{{"\xFF\xD8\xFF", 0, "a JPEG file"},
                                            {"\x89PNG", 0, "a PNG file"},
                                            {"GIF8", 0, "a GIF file"},
                                            {"WEBP", 8, "a WebP file"},
                                            {"ftypavif", 4, "an AVIF file"},
                                            {"ftyphei", 4, "a HEIC file"},
                                            {"ftypmif1", 4, "a HEIC file"},
                                            {{"II*\0", 4}, 0, "a TIFF file"},
                                            {{"MM\0*", 4}, 0, "a TIFF file"},
                                            {"BM", 0, "a BMP file"},
                                            {"\xFF\x0A", 0, "a JPEG XL file"},
                                            {"jP  ", 4, "a JPEG 2000 file"}}};

std::unique_ptr<ImageDecoder::Format> open_format(std::span<const std::uint8_t> file) {
  if (is_jpeg(file)) return open_jpeg(file);
  if (is_png(file)) return open_png(file);
  throw data_error("neither a JPEG nor a PNG file but {}", content_name(file));
}

}  // namespace

bool is_jpeg(std::span<const std::uint8_t> file) { return begins_with(file, "\xFF\xD8\xFF"); }
bool is_png(std::span<const std::uint8_t> file) { return begins_with(file, "\x89PNG"); }

std::string content_name(std::span<const std::uint8_t> file) {
  if (file.empty()) return "an empty file";
  for (const Magic& magic : kMagics) {
    if (begins_with(file, magic.bytes, magic.at)) return std::string(magic.name);
  }
  std::string text = "bytes that begin with";
  for (const std::uint8_t byte : file.first(std::min<std::size_t>(file.size(), 8))) {
    text += fmt::format(" {:02x}", byte);
  }
  return text;
}

void check_pixels(std::int64_t width, std::int64_t height, std::int64_t max_pixels) {
  if (width < 1 || height < 1) throw data_error("it has no pixels: {} x {}", width, height);
  if (height > max_pixels / width) {
    throw data_error(
        "it announces {} x {} pixels, more than {}: scale it down, or allow more with --max-pixels",
        width, height, max_pixels);
  }
}

ImageDecoder::ImageDecoder(std::span<const std::uint8_t> file, std::int64_t max_pixels)
    : format_(open_format(file)), size_(format_->stored_size()) {
  check_pixels(size_.width, size_.height, max_pixels);
}

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
