#include "data/importers/idx.h"

#include <fmt/ranges.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "core/base/checked.h"
#include "core/base/error.h"
#include "data/store/files.h"

namespace kiln {
namespace {

/// The bytes of a file, gzipped or not: zlib reads both through the same calls.
class Unzipped {
 public:
  explicit Unzipped(const std::string& path) : path_(path) {
    File::open_read(path);  // refuses what is no plain file
    file_.reset(gzopen(path.c_str(), "rb"));
    if (!file_) throw data_error("cannot open '{}'", path);
  }

  /// At most `most` bytes; fewer where the file ends.
  std::vector<std::uint8_t> read(std::int64_t most) {
    constexpr std::int64_t kPiece = 1 << 20;
    std::vector<std::uint8_t> bytes;
    while (std::ssize(bytes) < most) {
      const std::int64_t wanted = std::min(kPiece, most - std::ssize(bytes));
      const std::size_t begin = bytes.size();
      bytes.resize(begin + static_cast<std::size_t>(wanted));
      const int count = gzread(file_.get(), bytes.data() + begin, static_cast<unsigned>(wanted));
      bytes.resize(begin + static_cast<std::size_t>(std::max(count, 0)));
      if (count < static_cast<int>(wanted)) break;
    }
    int code = Z_OK;
    const char* reason = gzerror(file_.get(), &code);
    if (code != Z_OK) {
      throw data_error("'{}' is damaged or cut short: {}; fetch it again", path_, reason);
    }
    return bytes;
  }

 private:
  std::string path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_{nullptr, gzclose};
};

}  // namespace

// Header: 0, 0, type (8: unsigned byte), number of dimensions, then each dimension as big-endian
// 32-bit integer.
IdxFile read_idx(const std::string& path) {
  Unzipped input(path);
  const std::vector<std::uint8_t> magic = input.read(4);
  if (magic.size() < 4 || magic[0] != 0 || magic[1] != 0) {
    throw data_error("'{}' is not an idx file: it does not begin with two zero bytes", path);
  }
  if (magic[2] != 8) {
    throw data_error("'{}' holds values of idx type {:#x}; only unsigned bytes (0x8) are read",
                     path, magic[2]);
  }
  IdxFile file = {path, {}, {}};
  const std::vector<std::uint8_t> header = input.read(std::int64_t{4} * magic[3]);
  if (header.size() < std::size_t{4} * magic[3]) {
    throw data_error("'{}' ends within its header", path);
  }
  for (std::size_t at = 0; at < header.size(); at += 4) {
    file.dims.push_back(std::int64_t{header[at]} << 24 | header[at + 1] << 16 |
                        header[at + 2] << 8 | header[at + 3]);
  }
  const auto expected = checked_product(file.dims);
  if (!expected || *expected == std::numeric_limits<std::int64_t>::max()) {
    throw data_error("'{}' announces [{}] values, more than any file holds: it is damaged", path,
                     fmt::join(file.dims, ", "));
  }
  file.values = input.read(*expected + 1);
  if (std::ssize(file.values) != *expected) {
    throw data_error(
        "'{}' announces {} values but holds {}: it is truncated or not what it says", path,
        *expected,
        std::ssize(file.values) > *expected ? "more" : std::to_string(file.values.size()));
  }
  return file;
}

}  // namespace kiln
