#pragma once

#include <cstdint>

#include "core/base/philox.h"

namespace kiln {

/// One place of a forward pass where dropout draws: the factor of element number i, 0 with
/// probability p and else 1 / (1 - p), is a pure function of (stream, first_block, i).
struct DropoutSite {
  Philox stream;
  std::uint64_t first_block = 0;
  float p = 0.0f;
  float scale = 1.0f;  // 1 / (1 - p)

  KILN_HOST_DEVICE float factor(std::uint32_t word) const {
    return Philox::to_unit(word) < p ? 0.0f : scale;
  }
  /// Factors of elements begin .. begin + count - 1.
  void fill(std::int64_t begin, std::int64_t count, float* out) const;
};

}  // namespace kiln
