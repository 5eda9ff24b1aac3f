#pragma once

#include <cstdint>

#include "data/store/shard.h"

namespace kiln {

/// The integer in field "label" of a row.
std::int64_t read_label(const Shard& shard, std::int64_t row);

}  // namespace kiln
