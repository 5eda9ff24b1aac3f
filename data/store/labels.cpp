#include "data/store/labels.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "core/base/error.h"

namespace kiln {
namespace {

bool is_integer(DType type) { return type != DType::kFloat16 && type != DType::kFloat32; }

[[noreturn]] void refuse(const Shard& shard, std::int64_t row, std::int64_t label,
                         std::int64_t num_classes) {
  throw data_error("shard '{}', row {}: its label is {}; classes are numbers from 0 to {}",
                   shard.path().string(), row, label,
                   (num_classes > 0 ? num_classes : kMostClasses) - 1);
}

}  // namespace

void check_label_field(const FieldInfo& field, const std::string& what) {
  if (!field.is_ragged && is_integer(field.dtype) && field.row_values() == 1) return;
  throw data_error(
      "{}: labels are one integer a row, the number of the class; found {} [{}]{}. Of one-hot rows "
      "write the place of the one (numpy's argmax)",
      what, name(field.dtype), fmt::join(field.shape, ", "), field.is_ragged ? " ragged" : "");
}

std::int64_t read_label(const Shard& shard, std::int64_t row) {
  std::array<std::uint8_t, 8> bytes = {};
  shard.read_rows("label", row, 1, bytes.data());
  const std::int64_t label = integer_at(shard.layout("label").info.dtype, bytes.data());
  if (label < 0) refuse(shard, row, label, 0);
  return label;
}

std::vector<std::int64_t> count_labels(const std::vector<const Shard*>& shards,
                                       std::int64_t num_classes) {
  constexpr std::int64_t kRun = 1 << 16;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(num_classes));
  const std::int64_t most = num_classes > 0 ? num_classes : kMostClasses;
  std::vector<std::uint8_t> bytes;
  for (const Shard* shard : shards) {
    const Shard::Layout& layout = shard->layout("label");
    const std::int64_t size = size_bytes(layout.info.dtype);
    for (std::int64_t begin = 0; begin < layout.num_rows; begin += kRun) {
      const std::int64_t count = std::min(kRun, layout.num_rows - begin);
      bytes.resize(static_cast<std::size_t>(count * size));
      shard->read_rows("label", begin, count, bytes.data());
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t label = integer_at(layout.info.dtype, bytes.data() + i * size);
        if (label < 0 || label >= most) refuse(*shard, begin + i, label, num_classes);
        if (label >= std::ssize(counts)) counts.resize(static_cast<std::size_t>(label + 1));
        ++counts[static_cast<std::size_t>(label)];
      }
    }
  }
  return counts;
}

}  // namespace kiln
