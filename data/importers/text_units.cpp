#include "data/importers/text_units.h"

#include <algorithm>
#include <limits>

#include "core/base/error.h"
#include "data/tokenizer/text_file.h"

namespace kiln {
namespace fs = std::filesystem;

TextPlan plan_text_units(const std::vector<fs::path>& inputs, std::int64_t unit_bytes) {
  KILN_CHECK(unit_bytes > 0);
  TextPlan plan;
  TextUnit unit;
  std::int64_t filled = 0;
  const auto close = [&] {
    if (!unit.empty()) plan.units.push_back(std::move(unit));
    unit.clear();
    filled = 0;
  };
  const auto files = list_text_files(
      inputs,
      [&](const std::string& reason, const std::string& path) { plan.left_out.add(reason, path); });
  for (const fs::path& path : files) {
    const File file = File::open_read(path);
    const bool is_packed = !compression_of(file).empty();
    const std::int64_t size = file.size_bytes();
    ++plan.num_files;
    plan.total_bytes += size;
    if (size == 0) {
      ++plan.num_empty_files;
      continue;
    }
    if (is_packed) {
      // Its text can only be read from the beginning, and is as long as it turns out to be.
      close();
      unit.push_back({path, {0, std::numeric_limits<std::int64_t>::max()}});
      close();
      continue;
    }
    open_text(path);  // what is no text shows before any work is done
    if (filled + size > unit_bytes) close();
    for (std::int64_t begin = 0; begin < size; begin += unit_bytes) {
      const std::int64_t end = std::min(size, begin + unit_bytes);
      unit.push_back({path, {begin, end}});
      filled += end - begin;
      if (filled >= unit_bytes) close();
    }
  }
  close();
  if (plan.units.empty()) {
    throw data_error("the input has no text: {} files, all empty", plan.num_files);
  }
  return plan;
}

}  // namespace kiln
