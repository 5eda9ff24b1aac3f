#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kiln {

struct TarEntry {
  std::string name;
  std::int64_t offset = 0;  // of the content, in the archive
  std::int64_t bytes = 0;
};

/// The regular files of an uncompressed tar archive (ustar, with GNU or pax long names), in order.
/// Reads headers only. Throws Error(kData) naming the archive if it is damaged or cut short.
std::vector<TarEntry> list_tar(const std::filesystem::path& path);

}  // namespace kiln
