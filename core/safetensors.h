#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace kiln {

/// A .safetensors file mapped into memory and checked before any use: header length, JSON, types,
/// offsets without gaps or overlaps, file length. Throws Error(kCheckpoint) naming file and fault.
///
/// Thread safety: const members may be called from several threads.
class SafetensorsFile {
 public:
  struct Entry {
    std::string dtype;  // "F32", "BF16", "I64", ...
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0, end = 0;  // bytes from the start of the data section
  };
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  const std::map<std::string, Entry>& entries() const;
  const std::map<std::string, std::string>& metadata() const;
  bool contains(const std::string& name) const;
  /// A copy on the host, in the file's type.
  at::Tensor read(const std::string& name) const;

 private:
  struct Mapping;
  std::unique_ptr<Mapping> mapping_;
};

/// Writes tensors (host, made contiguous) in the given order; metadata gets {"format": "pt"} if it
/// has no such key. The header is padded to 8 bytes. Flushed to disk (fsync) before it returns.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace kiln
