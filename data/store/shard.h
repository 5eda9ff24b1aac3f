#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/work.h"
#include "data/store/manifest.h"

namespace kiln {

/// Where the arrays of each field lie within the files; a field that is not named lies at "/FIELD".
using FieldPaths = std::map<std::string, std::string>;

/// A shard file open for reading. HDF5's library is asked once, at opening, where the arrays lie.
///
/// Errors (kData) name the file and the field: a missing array, a type or shape other than the
/// manifest's, a file that ends too early, offsets that do not ascend.
///
/// Thread safety: const members may be called from several threads.
class Shard {
 public:
  /// What a field turned out to be.
  struct Layout {
    FieldInfo info;
    std::int64_t num_rows = 0;
    std::int64_t num_values = 0;  // values in /F/data
    bool is_direct = false;       // read with pread, without the library
    std::string description;      // "contiguous", "chunks of [100, 28, 28], filter deflate"
    std::int64_t begin_byte = 0;  // of /F/data, where is_direct
  };

  /// Opens the fields of `expected`; an empty one means whatever `paths` names, as found.
  Shard(const std::filesystem::path& path, const Fields& expected, const FieldPaths& paths = {});
  ~Shard();
  Shard(Shard&&) noexcept;

  const std::filesystem::path& path() const;
  bool has(const std::string& field) const;
  const Layout& layout(const std::string& field) const;

  /// Fixed rows [begin, begin + count).
  void read_rows(const std::string& field, std::int64_t begin, std::int64_t count, void* out) const;
  /// Where a ragged row lies, in values of the field.
  Range row_range(const std::string& field, std::int64_t row) const;
  /// Where all of a field's ragged rows begin, and the last one ends: num_rows + 1 values.
  std::vector<std::uint64_t> row_offsets(const std::string& field) const;
  /// Values [begin, end) of a ragged field, whatever rows they belong to.
  void read_values(const std::string& field, Range values, void* out) const;
  /// A row of either sort; resizes out.
  void read_row(const std::string& field, std::int64_t row, std::vector<std::uint8_t>& out) const;
  /// xxh3-128 of the field's data, then its offsets, as they are now.
  std::string hash(const std::string& field) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiln
