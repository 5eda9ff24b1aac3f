#include "core/base/philox.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kiln {

void fill_uniform(const Philox& stream, float* out, std::int64_t count) {
  constexpr std::int64_t kWords = 256;
  std::uint32_t words[kWords];
  for (std::int64_t i = 0; i < count; i += kWords) {
    const std::int64_t here = std::min(kWords, count - i);
    stream.blocks(static_cast<std::uint64_t>(i) / 4, (here + 3) / 4, words);
    for (std::int64_t j = 0; j < here; ++j) out[i + j] = Philox::to_unit(words[j]);
  }
}

void fill_normal(const Philox& stream, float* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += 4) {
    const auto words = stream.block(static_cast<std::uint64_t>(i) / 4);
    for (std::int64_t j = i; j < i + 4 && j < count; j += 2) {
      // 1 - u lies in (0, 1]: the logarithm is finite.
      const double u = 1.0 - Philox::to_unit(words[j - i]);
      const double angle = 2.0 * std::numbers::pi * Philox::to_unit(words[j - i + 1]);
      const double radius = std::sqrt(-2.0 * std::log(u));
      out[j] = static_cast<float>(radius * std::cos(angle));
      if (j + 1 < count) out[j + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
}

}  // namespace kiln
