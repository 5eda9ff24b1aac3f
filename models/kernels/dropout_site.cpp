#include "models/kernels/dropout_site.h"

#include <algorithm>

namespace kiln {

void DropoutSite::fill(std::int64_t begin, std::int64_t count, float* out) const {
  const std::int64_t end = begin + count;
  for (std::int64_t i = begin; i < end;) {
    const auto words = stream.block(first_block + static_cast<std::uint64_t>(i / 4));
    const std::int64_t stop = std::min(end, (i / 4 + 1) * 4);
    for (; i < stop; ++i) out[i - begin] = factor(words[static_cast<std::size_t>(i % 4)]);
  }
}

}  // namespace kiln
