#include "models/kernels/dropout_site.h"

#include <algorithm>

namespace kiln {

void DropoutSite::fill(std::int64_t begin, std::int64_t count, float* out) const {
  constexpr std::int64_t kWords = 256;
  std::uint32_t words[kWords];
  const std::int64_t end = begin + count;
  for (std::int64_t i = begin / 4 * 4; i < end; i += kWords) {
    const std::int64_t skipped = std::max(begin - i, std::int64_t{0});
    const std::int64_t here = std::min(kWords, end - i);
    stream.blocks(first_block + static_cast<std::uint64_t>(i / 4), (here + 3) / 4, words);
    for (std::int64_t j = skipped; j < here; ++j) out[i + j - begin] = factor(words[j]);
  }
}

}  // namespace kiln
