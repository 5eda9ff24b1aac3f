#include "data/images/orientation.h"

#include <algorithm>
#include <array>

namespace kiln {
namespace {

int checked(std::uint64_t value) { return value >= 1 && value <= 8 ? static_cast<int>(value) : 1; }

/// Bytes of an integer of a TIFF type that Pillow takes for a number; 0 for all others.
std::size_t integer_bytes(std::uint64_t type) {
  switch (type) {
    case 6:  // signed byte
      return 1;
    case 3:  // short
    case 8:  // signed short
      return 2;
    case 4:  // long
    case 9:  // signed long
      return 4;
    default:
      return 0;
  }
}

}  // namespace

// Byte order, 42, offset of the first directory, whose entries are (tag, type, count, value) of 12
// bytes; a value that does not fit its 4 bytes lies elsewhere. Tag 0x112 is the orientation.
std::optional<int> exif_orientation(std::span<const std::uint8_t> tiff) {
  constexpr std::array<std::uint8_t, 6> kHeader = {'E', 'x', 'i', 'f', 0, 0};
  if (tiff.size() >= 6 && std::equal(kHeader.begin(), kHeader.end(), tiff.begin())) {
    tiff = tiff.subspan(6);
  }
  if (tiff.size() < 8) return std::nullopt;
  const bool is_little = tiff[0] == 'I';
  if (tiff[0] != tiff[1] || (!is_little && tiff[0] != 'M')) return std::nullopt;
  const auto has = [&](std::uint64_t at, std::uint64_t size) {
    return at <= tiff.size() && size <= tiff.size() - at;
  };
  const auto integer = [&](std::uint64_t at, std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      value = value << 8 | tiff[at + (is_little ? size - 1 - i : i)];
    }
    return value;
  };
  const std::uint64_t directory = integer(4, 4);
  if (!has(directory, 2)) return std::nullopt;
  const std::uint64_t num_entries = integer(directory, 2);
  for (std::uint64_t i = 0; i < num_entries; ++i) {
    const std::uint64_t entry = directory + 2 + 12 * i;
    if (!has(entry, 12)) return std::nullopt;
    if (integer(entry, 2) != 0x112) continue;
    const std::size_t size = integer_bytes(integer(entry + 2, 2));
    const std::uint64_t count = integer(entry + 4, 4);
    if (size == 0 || count == 0) return 1;
    const std::uint64_t at = count * size <= 4 ? entry + 8 : integer(entry + 8, 4);
    return has(at, size) ? checked(integer(at, size)) : 1;
  }
  return std::nullopt;
}

std::optional<int> xmp_orientation(std::string_view packet) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (std::size_t at = packet.find(kName); at != packet.npos; at = packet.find(kName, at + 1)) {
    std::string_view rest = packet.substr(at + kName.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (rest.empty() || rest[0] < '0' || rest[0] > '9') continue;
    return checked(static_cast<std::uint64_t>(rest[0] - '0'));
  }
  return std::nullopt;
}

}  // namespace kiln
