#pragma once

#include <optional>

#include "models/kernels/dropout_site.h"

namespace kiln {

/// Dropout of a kernel: by value, since the host's struct lies in host memory.
struct Keep {
  DropoutSite site;
  bool is_there;
  /// Of elements `first` and those after it; V > 1: `first` is a multiple of 4.
  template <int V>
  __device__ void factors(std::int64_t first, float (&out)[V]) const {
    if (!is_there) {
      for (int v = 0; v < V; ++v) out[v] = 1.0f;
      return;
    }
    constexpr int kWords = 4;
#pragma unroll
    for (int v = 0; v < V; v += kWords) {
      const auto words =
          site.stream.block(site.first_block + static_cast<std::uint64_t>((first + v) / kWords));
#pragma unroll
      for (int w = 0; w < kWords && v + w < V; ++w) {
        out[v + w] = site.factor(words[static_cast<std::size_t>(V > 1 ? w : first % kWords)]);
      }
    }
  }
};

inline Keep keep_of(const std::optional<DropoutSite>& site) {
  if (site) return {*site, true};
  return {{Philox(0, Purpose::kDropout, 0), 0, 0.0f, 1.0f}, false};
}

}  // namespace kiln
