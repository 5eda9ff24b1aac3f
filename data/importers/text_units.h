#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/work.h"
#include "data/importers/import.h"

namespace kiln {

/// A part of a file.
struct FilePart {
  std::filesystem::path path;
  Range bytes;
};
/// What one shard is made of.
using TextUnit = std::vector<FilePart>;

struct TextPlan {
  std::vector<TextUnit> units;
  std::int64_t num_files = 0;
  std::int64_t num_empty_files = 0;
  std::int64_t total_bytes = 0;
  LeftOut left_out;
};

/// Files in the order given; a folder stands for all files below it, sorted by path. Files of up to
/// unit_bytes stay whole; longer ones are cut. A compressed file is a unit, however long its text is.
/// Throws Error(kData) for a missing input, one that is no text, and for inputs without a byte.
TextPlan plan_text_units(const std::vector<std::filesystem::path>& inputs, std::int64_t unit_bytes);

}  // namespace kiln
