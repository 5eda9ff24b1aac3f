#pragma once

#include <cstdint>

namespace kiln {

/// A half-open range [begin, end).
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

/// Part `index` of `parts` contiguous parts of `total` items, as equal as possible. Every item
/// belongs to exactly one part, whatever `parts` is.
///
/// This one function says which micro-batches of a step are a rank's, which rows of an evaluation,
/// which blocks of a bucket.
constexpr Range share_of(std::int64_t total, std::int64_t index, std::int64_t parts) {
  return {total * index / parts, total * (index + 1) / parts};
}

}  // namespace kiln
