#include "data/importers/text_units.h"

#include <algorithm>
#include <array>

#include "core/base/error.h"
#include "data/store/files.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> list_files(const std::vector<fs::path>& inputs) {
  std::vector<fs::path> files;
  for (const fs::path& input : inputs) {
    if (!fs::exists(input)) throw data_error("'{}' does not exist", input.string());
    if (!fs::is_directory(input)) {
      files.push_back(input);
      continue;
    }
    const auto first = std::ssize(files);
    for (const auto& entry : fs::recursive_directory_iterator(input)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::sort(files.begin() + first, files.end());
  }
  return files;
}

void refuse_compressed(const File& file, const fs::path& path) {
  std::array<unsigned char, 2> magic{};
  if (file.size_bytes() < 2) return;
  file.read_at(magic.data(), 2, 0);
  if (magic[0] == 0x1F && magic[1] == 0x8B) {
    throw data_error(
        "'{}' is compressed with gzip; unpack it first (gunzip), so that ranks can "
        "read parts of it",
        path.string());
  }
}

}  // namespace

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
  for (const fs::path& path : list_files(inputs)) {
    const File file = File::open_read(path);
    refuse_compressed(file, path);
    const std::int64_t size = file.size_bytes();
    ++plan.num_files;
    plan.total_bytes += size;
    if (size == 0) {
      ++plan.num_empty_files;
      continue;
    }
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
