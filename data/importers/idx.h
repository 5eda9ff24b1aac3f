#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kiln {

/// Unsigned bytes of any number of dimensions, as the MNIST family has them.
struct IdxFile {
  std::string path;
  std::vector<std::int64_t> dims;
  std::vector<std::uint8_t> values;  // product of dims
};

/// Gzipped or not. Throws Error(kData) naming the file: other types, a length that is not the one
/// announced, dimensions whose product no file holds.
IdxFile read_idx(const std::string& path);

}  // namespace kiln
