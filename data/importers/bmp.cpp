#include <array>
#include <vector>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/importers/other_pictures.h"

namespace kiln {
namespace {

using Colour = std::array<std::uint8_t, 3>;  // red, green, blue

std::uint32_t integer(std::span<const std::uint8_t> file, std::size_t at, std::size_t size) {
  if (at > file.size() || size > file.size() - at) throw data_error("a BMP file that is cut short");
  std::uint32_t value = 0;
  for (std::size_t i = size; i-- > 0;) value = value << 8 | file[at + i];
  return value;
}

/// The headers: a file header of 14 bytes, then one whose first word is its own length.
struct Header {
  std::int64_t width = 0, height = 0;
  bool is_top_down = false;
  std::uint32_t bits = 0;
  std::size_t pixels = 0;  // where they begin
  std::vector<Colour> palette;
};

void read_palette(std::span<const std::uint8_t> file, std::size_t begin, std::size_t entry_bytes,
                  std::size_t stated, Header& header) {
  const std::size_t most = std::size_t{1} << header.bits;
  const std::size_t count = stated == 0 ? most : std::min(stated, most);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t bgr = integer(file, begin + i * entry_bytes, 3);
    header.palette.push_back({static_cast<std::uint8_t>(bgr >> 16),
                              static_cast<std::uint8_t>(bgr >> 8), static_cast<std::uint8_t>(bgr)});
  }
}

Header read_header(std::span<const std::uint8_t> file) {
  Header header;
  header.pixels = integer(file, 10, 4);
  const std::size_t size = integer(file, 14, 4);
  const bool is_old = size == 12;
  if (!is_old && size < 40) throw data_error("a BMP file with an unknown header of {} bytes", size);
  const auto height = static_cast<std::int32_t>(integer(file, is_old ? 20 : 22, is_old ? 2 : 4));
  header.width = is_old ? static_cast<std::int64_t>(integer(file, 18, 2))
                        : static_cast<std::int32_t>(integer(file, 18, 4));
  header.is_top_down = height < 0;
  header.height = header.is_top_down ? -std::int64_t{height} : height;
  header.bits = integer(file, is_old ? 24 : 28, 2);
  const std::uint32_t compression = is_old ? 0 : integer(file, 30, 4);
  constexpr std::uint32_t kMasks = 3;
  bool is_plain = compression == 0;
  if (compression == kMasks && header.bits == 32) {
    is_plain = integer(file, 54, 4) == 0xFF0000 && integer(file, 58, 4) == 0xFF00 &&
               integer(file, 62, 4) == 0xFF;
  }
  const bool has_palette = header.bits == 1 || header.bits == 4 || header.bits == 8;
  if (!is_plain || !(has_palette || header.bits == 24 || header.bits == 32)) {
    throw data_error(
        "a BMP file of {} bits with compression {}; read are 1, 4, 8, 24 and 32 bits without: "
        "convert it to PNG",
        header.bits, compression);
  }
  if (has_palette) {
    read_palette(file, 14 + size, is_old ? 3 : 4, is_old ? 0 : integer(file, 46, 4), header);
  }
  return header;
}

Colour colour_at(const std::uint8_t* row, std::int64_t x, const Header& header) {
  if (header.bits >= 24) {
    const std::uint8_t* pixel = row + x * (header.bits / 8);
    return {pixel[2], pixel[1], pixel[0]};
  }
  const std::int64_t in_byte = 8 / header.bits;
  const auto shift =
      static_cast<int>(8 - header.bits * static_cast<std::uint32_t>(x % in_byte + 1));
  const std::size_t index =
      static_cast<std::size_t>(row[x / in_byte] >> shift) & ((std::size_t{1} << header.bits) - 1);
  return index < header.palette.size() ? header.palette[index] : Colour{};
}

}  // namespace

bool is_bmp(std::span<const std::uint8_t> file) {
  return file.size() >= 18 && file[0] == 'B' && file[1] == 'M';
}

Image decode_bmp(std::span<const std::uint8_t> file, std::int64_t max_pixels) {
  const Header header = read_header(file);
  check_pixels(header.width, header.height, max_pixels);
  // Rows end at multiples of 4 bytes, and come from the bottom.
  const std::int64_t stride = (header.width * header.bits + 31) / 32 * 4;
  if (header.pixels > file.size() ||
      stride * header.height > static_cast<std::int64_t>(file.size() - header.pixels)) {
    throw data_error(
        "a BMP file that is cut short: {} x {} pixels of {} bits begin at byte {} of {}",
        header.width, header.height, header.bits, header.pixels, file.size());
  }
  const bool is_grey =
      !header.palette.empty() && std::ranges::all_of(header.palette, [](const Colour& colour) {
        return colour[0] == colour[1] && colour[1] == colour[2];
      });
  Image image(header.width, header.height, is_grey ? 1 : 3);
  for (std::int64_t y = 0; y < image.height; ++y) {
    const std::int64_t stored = header.is_top_down ? y : image.height - 1 - y;
    const std::uint8_t* row = file.data() + header.pixels + stored * stride;
    std::uint8_t* to = image.row(y);
    for (std::int64_t x = 0; x < image.width; ++x, to += image.channels) {
      const Colour colour = colour_at(row, x, header);
      std::copy_n(colour.begin(), image.channels, to);
    }
  }
  return image;
}

}  // namespace kiln
