#pragma once

#include <cstdint>
#include <string>

namespace kiln {

/// Replaces each maximal invalid part of `text` by U+FFFD; returns how many there were. Valid text
/// is left as it is.
std::int64_t repair_utf8(std::string& text);

}  // namespace kiln
