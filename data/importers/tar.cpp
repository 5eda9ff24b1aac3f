#include "data/importers/tar.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "core/base/error.h"
#include "data/store/files.h"

namespace kiln {
namespace {

constexpr std::int64_t kBlock = 512;
using Header = std::array<char, kBlock>;

// A field of at most `size` characters, ended by a zero byte if shorter.
std::string_view text_at(const Header& header, std::size_t offset, std::size_t size) {
  const std::string_view field(header.data() + offset, size);
  return field.substr(0, field.find('\0'));
}

// Octal digits, or, for large files, a set top bit and big-endian bytes.
std::int64_t number_at(const Header& header, std::size_t offset, std::size_t size) {
  std::int64_t value = 0;
  const bool is_binary = (static_cast<unsigned char>(header[offset]) & 0x80) != 0;
  for (std::size_t i = offset + (is_binary ? 1 : 0); i < offset + size; ++i) {
    const char c = header[i];
    if (is_binary) {
      value = value << 8 | static_cast<unsigned char>(c);
    } else if (c >= '0' && c <= '7') {
      value = value << 3 | (c - '0');
    }
  }
  return value;
}

bool has_right_checksum(const Header& header) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const bool is_checksum = i >= 148 && i < 156;
    sum += is_checksum ? ' ' : static_cast<unsigned char>(header[i]);
  }
  return sum == number_at(header, 148, 8);
}

// "27 path=some/long/name\n" among the records of a pax header.
std::string pax_path(const std::string& records) {
  const std::size_t found = records.find(" path=");
  if (found == std::string::npos) return "";
  const std::size_t begin = found + 6;
  return records.substr(begin, records.find('\n', begin) - begin);
}

std::string short_name(const Header& header) {
  const std::string name(text_at(header, 0, 100));
  const std::string_view prefix = text_at(header, 345, 155);
  const bool is_ustar = std::memcmp(header.data() + 257, "ustar", 6) == 0;
  return is_ustar && !prefix.empty() ? std::string(prefix) + "/" + name : name;
}

}  // namespace

std::vector<TarEntry> list_tar(const std::filesystem::path& path) {
  const File file = File::open_read(path);
  const std::int64_t size = file.size_bytes();
  std::vector<TarEntry> entries;
  std::string long_name;
  for (std::int64_t at = 0; at + kBlock <= size;) {
    Header header = {};
    file.read_at(header.data(), kBlock, at);
    if (std::all_of(header.begin(), header.end(), [](char c) { return c == 0; })) break;
    if (!has_right_checksum(header)) {
      throw data_error("'{}' is not an uncompressed tar archive, or damaged at byte {}",
                       path.string(), at);
    }
    const std::int64_t bytes = number_at(header, 124, 12);
    const std::int64_t content = at + kBlock;
    if (content + bytes > size) {
      throw data_error("'{}' is cut short within '{}'", path.string(), short_name(header));
    }
    const char type = header[156];
    if (type == 'L' || type == 'x') {
      std::string text(static_cast<std::size_t>(bytes), '\0');
      file.read_at(text.data(), bytes, content);
      long_name = type == 'L' ? text.substr(0, text.find('\0')) : pax_path(text);
    } else if (type == '0' || type == '\0') {
      entries.push_back({long_name.empty() ? short_name(header) : long_name, content, bytes});
      long_name.clear();
    } else if (type != 'g') {
      long_name.clear();
    }
    at = content + (bytes + kBlock - 1) / kBlock * kBlock;
  }
  return entries;
}

}  // namespace kiln
