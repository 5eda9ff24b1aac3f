#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/store/files.h"
#include "data/store/hdf5_handle.h"

namespace kiln {

/// One array of an open HDF5 file as rows along its first dimension.
///
/// Contiguous arrays are read with pread at the place the library names once: no lock, any number
/// of threads. Whatever is not one run of little-endian bytes of this very file (chunks, filters,
/// external links and files, virtual data sets, big-endian values) goes through H5Dread, one thread
/// at a time.
///
/// Thread safety: read() may be called from several threads.
class StoredArray {
 public:
  /// `what` names the array in messages. Throws if it is missing, of a type, shape or storage that
  /// is not read, or its rows have no values: checked here once, for imports and reading in place.
  StoredArray(hid_t file, const std::string& path, const std::string& what);

  DType dtype() const { return dtype_; }
  std::int64_t num_rows() const { return num_rows_; }
  const std::vector<std::int64_t>& row_shape() const { return row_shape_; }
  std::int64_t row_bytes() const { return row_bytes_; }
  bool is_direct() const { return is_direct_; }
  /// "contiguous", or what makes it slow: "chunks of [100, 28, 28], filter deflate".
  const std::string& layout() const { return layout_; }
  /// Where a direct array begins in the file, and how long it is.
  std::int64_t begin_byte() const { return begin_byte_; }
  std::int64_t num_bytes() const { return num_rows_ * row_bytes_; }

  /// Rows [begin, begin + count) into out.
  void read(const File& file, std::int64_t begin, std::int64_t count, void* out) const;

 private:
  void read_through_library(std::int64_t begin, std::int64_t count, void* out) const;

  std::string what_;
  DType dtype_ = DType::kUInt8;
  std::vector<std::int64_t> row_shape_;
  std::int64_t num_rows_ = 0;
  std::int64_t row_bytes_ = 0;
  bool is_direct_ = false;
  std::int64_t begin_byte_ = 0;
  std::string layout_;
  H5Handle dataset_;  // kept open where reads need the library
};

}  // namespace kiln
