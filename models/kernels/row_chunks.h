#pragma once

#include <cstdint>

#include "core/base/philox.h"

namespace kiln {

/// Rows in groups of equal size (the tokens of a sample), cut into chunks of at most kRows that do
/// not cross groups: the unit of sums over rows. Host and device cut alike, so sums depend on the
/// shape alone.
struct RowChunks {
  static constexpr std::int64_t kRows = 32;
  std::int64_t rows_per_group = 0;
  std::int64_t groups = 0;

  KILN_HOST_DEVICE std::int64_t per_group() const { return (rows_per_group + kRows - 1) / kRows; }
  KILN_HOST_DEVICE std::int64_t count() const { return groups * per_group(); }
  KILN_HOST_DEVICE std::int64_t group_of(std::int64_t chunk) const { return chunk / per_group(); }
  KILN_HOST_DEVICE std::int64_t begin(std::int64_t chunk) const {
    return group_of(chunk) * rows_per_group + chunk % per_group() * kRows;
  }
  KILN_HOST_DEVICE std::int64_t end(std::int64_t chunk) const {
    const std::int64_t last = (group_of(chunk) + 1) * rows_per_group;
    return begin(chunk) + kRows < last ? begin(chunk) + kRows : last;
  }
};

}  // namespace kiln
