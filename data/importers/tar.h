#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/importers/import.h"

namespace kiln {

struct TarEntry {
  std::string name;
  std::int64_t offset = 0;  // of the content, in the archive
  std::int64_t bytes = 0;
};

struct TarContents {
  std::vector<TarEntry> files;  // regular files and hard links to them, in order
  LeftOut left_out;             // symbolic links and special files; folders are not counted
};

/// Members of an uncompressed tar archive of any kind that libarchive and GNU tar read. Reads headers
/// only. Throws Error(kData) naming archive and member if it is damaged, ends early (without the
/// blocks of zeros that end an archive), goes on behind its end, is compressed, or has a member whose
/// content is not one run of bytes (sparse).
TarContents list_tar(const std::filesystem::path& path);

}  // namespace kiln
