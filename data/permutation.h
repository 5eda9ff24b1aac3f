#pragma once

#include <array>
#include <cstdint>

#include "core/base/philox.h"

namespace kiln {

/// A pseudo-random permutation of {0, ..., size-1} that is computed, not stored: a Feistel network
/// over the next power of four, walked until it lands inside (at most 4 steps expected). Its rounds
/// are keyed by blocks 2 * number and 2 * number + 1 of the stream.
class Permutation {
 public:
  Permutation(const Philox& stream, std::uint64_t number, std::int64_t size);
  std::int64_t at(std::int64_t index) const;
  /// inverse(at(i)) == i
  std::int64_t inverse(std::int64_t value) const;

 private:
  static constexpr int kRounds = 6;
  std::uint64_t mix(int round, std::uint64_t half) const;

  std::array<std::uint64_t, 4> keys_;
  std::uint64_t size_;
  int half_bits_;
  std::uint64_t half_mask_;
};

}  // namespace kiln
