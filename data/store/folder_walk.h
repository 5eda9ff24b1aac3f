#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kiln {

/// Everything met below a folder: files to be used, and why the rest is not.
struct FolderContents {
  struct File {
    std::filesystem::path path;
    std::int64_t bytes = 0;
  };
  struct Other {
    std::filesystem::path path;
    std::string reason;
  };
  std::vector<File> files;           // sorted by path
  std::vector<std::string> folders;  // right below, sorted, without hidden ones
  /// Nobody's data: hidden files and folders (".git", "__MACOSX"), pipes, sockets, devices.
  std::vector<Other> left_out;
  /// Meant as data, and cannot be read: links that lead nowhere or in a circle.
  std::vector<Other> broken;
};

/// Follows links. Throws Error(kData) for a folder that cannot be read.
FolderContents walk_folder(const std::filesystem::path& root);

}  // namespace kiln
