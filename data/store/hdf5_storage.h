#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/store/hdf5_handle.h"

namespace kiln {

/// What an HDF5 data set's values become when they are read.
struct StoredType {
  DType type = DType::kUInt8;
  bool is_as_stored = true;     // else the library converts: big-endian, int8 and int16 (to int32)
  std::int64_t size_bytes = 1;  // of a value in the file
};
/// Throws Error(kData) that names the type found where it is none of ours.
StoredType stored_type(hid_t dataset, const std::string& what);

/// Where a data set's values lie.
struct StoredPlace {
  bool is_direct = false;       // one run of bytes of the file itself
  std::int64_t begin_byte = 0;  // where is_direct
  std::string layout;           // "contiguous", "chunks of [100, 28, 28], filter deflate"
};
/// Throws Error(kData) for what the library would fill with zeros (a virtual data set whose sources
/// are missing, external files that are too short) or cannot read (a filter it does not have).
/// `num_bytes`: of all values in the file.
StoredPlace stored_place(hid_t file, hid_t dataset, std::int64_t num_bytes,
                         const std::string& what);

}  // namespace kiln
