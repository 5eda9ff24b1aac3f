#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/store/files.h"

namespace kiln {

// What every command that takes text takes and refuses alike: plain UTF-8, or that packed with gzip,
// bzip2, xz, zstd or lz4. What a file is, its content says, never its name.

/// "gzip", "xz", ...; "" for what is not compressed.
std::string compression_of(const File& file);

/// The text of a file, unpacked into a temporary file if it is compressed. Throws Error(kData) naming
/// the file for what is no text (check_text), or a damaged packing.
File open_text(const std::filesystem::path& path);

/// Throws Error(kData) that says what `head`, the first bytes of `what`, is: UTF-16, a picture, an
/// archive, another encoding (more than one byte in a hundred is no UTF-8), with what to do about it.
void check_text(std::string_view head, const std::string& what);

/// Files in the order given; a folder stands for all files below it, sorted by path. `left_out` is
/// called for those that are hidden or no files, with the reason. Throws Error(kData) for an input
/// that does not exist, and for links that lead nowhere.
std::vector<std::filesystem::path> list_text_files(
    const std::vector<std::filesystem::path>& inputs,
    const std::function<void(const std::string& reason, const std::string& path)>& left_out = {});

}  // namespace kiln
