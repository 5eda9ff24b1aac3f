#include "data/store/labels.h"

#include <array>

namespace kiln {

std::int64_t read_label(const Shard& shard, std::int64_t row) {
  std::array<std::uint8_t, 8> bytes = {};
  shard.read_rows("label", row, 1, bytes.data());
  return integer_at(shard.layout("label").info.dtype, bytes.data());
}

}  // namespace kiln
