#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace kiln {

/// Text with the characters that mean something to HTML replaced.
std::string escape_html(std::string_view text);

/// An <img> with the PNG file's bytes inside.
std::string inline_png(const std::filesystem::path& png, const std::string& alternative);

}  // namespace kiln
