#include "data/permutation.h"

#include <bit>

#include "core/error.h"

namespace kiln {

Permutation::Permutation(const Philox& stream, std::uint64_t number, std::int64_t size)
    : stream_(stream), number_(number), size_(static_cast<std::uint64_t>(size)) {
  KILN_CHECK(size > 0 && size < (std::int64_t{1} << 50) && number < (std::uint64_t{1} << 32),
             "permutation {} of {}", number, size);
  const int bits = static_cast<int>(std::bit_width(size_ - 1));
  half_bits_ = bits < 2 ? 1 : (bits + 1) / 2;
  half_mask_ = (std::uint64_t{1} << half_bits_) - 1;
}

// Keyed word: number, round and half are packed side by side, so no two share a counter.
std::uint64_t Permutation::mix(int round, std::uint64_t half) const {
  const std::uint64_t index = number_ << 32 | static_cast<std::uint64_t>(round) << 28 | half;
  return stream_.block(index)[0] & half_mask_;
}

std::int64_t Permutation::at(std::int64_t index) const {
  auto value = static_cast<std::uint64_t>(index);
  do {
    std::uint64_t left = value >> half_bits_;
    std::uint64_t right = value & half_mask_;
    for (int round = 0; round < kRounds; ++round) {
      const std::uint64_t next = left ^ mix(round, right);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= size_);
  return static_cast<std::int64_t>(value);
}

std::int64_t Permutation::inverse(std::int64_t target) const {
  auto value = static_cast<std::uint64_t>(target);
  do {
    std::uint64_t left = value >> half_bits_;
    std::uint64_t right = value & half_mask_;
    for (int round = kRounds - 1; round >= 0; --round) {
      const std::uint64_t before = right ^ mix(round, left);
      right = left;
      left = before;
    }
    value = left << half_bits_ | right;
  } while (value >= size_);
  return static_cast<std::int64_t>(value);
}

}  // namespace kiln
