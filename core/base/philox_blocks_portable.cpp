#include <algorithm>

#include "core/base/philox.h"

namespace kiln {

void Philox::blocks(std::uint64_t first, std::int64_t count, std::uint32_t* words) const {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto one = block(first + static_cast<std::uint64_t>(i));
    std::copy(one.begin(), one.end(), words + 4 * i);
  }
}

}  // namespace kiln
