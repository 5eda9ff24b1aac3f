#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/file_io.h"
#include "core/base/hash.h"
#include "core/base/work.h"

namespace kiln {

/// A .safetensors file: header read and checked before any use (header length, JSON, types, shapes,
/// offsets without gaps or overlaps, file length), data read on demand, only the bytes asked for.
/// Throws Error(kCheckpoint) naming file and fault.
///
///   8 bytes          length n of the header, little-endian
///   n bytes          JSON: name -> {"dtype", "shape", "data_offsets"}, and "__metadata__"
///   the rest         tensors, little-endian, row-major, at data_offsets from here
///
/// Thread safety: const members may be called from several threads.
class SafetensorsFile {
 public:
  struct Entry {
    std::string dtype;  // F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0, end = 0;  // bytes from the start of the data section
    std::int64_t numel = 0;
  };
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::map<std::string, Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return entries_.count(name) > 0; }
  /// A copy on the host, in the file's type and shape.
  at::Tensor read(const std::string& name) const;
  /// Elements [begin, end) of the tensor's row-major order, 1-D.
  at::Tensor read(const std::string& name, Range elements) const;

 private:
  const Entry& entry(const std::string& name) const;
  InputFile file_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
  std::uint64_t data_begin_ = 0;
};

/// Writes tensors (host, made contiguous) in the given order, but wider element types first, so
/// that each is aligned; metadata gets {"format": "pt"} if it has no such key. The header is padded
/// to 8 bytes. Flushed to disk (fsync) before it returns. Returns length and hash of the bytes as
/// they were handed to the system.
FileHash write_safetensors(const std::filesystem::path& path,
                           const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                           const std::map<std::string, std::string>& metadata = {},
                           FileSystem& files = posix_file_system());

/// "F32" for at::kFloat and so on; throws Error(kCheckpoint) for types the format has no name for.
std::string safetensors_dtype(at::ScalarType type);
at::ScalarType scalar_type_of(const std::string& dtype);

}  // namespace kiln
