#include "data/permutation.h"

#include <bit>

#include "core/base/error.h"

namespace kiln {

namespace {

std::uint64_t joined(std::uint32_t low, std::uint32_t high) {
  return std::uint64_t{high} << 32 | low;
}

// The finaliser of SplitMix64 (Steele et al., OOPSLA 2014): every input bit reaches every output
// bit.
std::uint64_t scramble(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

Permutation::Permutation(const Philox& stream, std::uint64_t number, std::int64_t size)
    : size_(static_cast<std::uint64_t>(size)) {
  KILN_CHECK(size > 0 && size < (std::int64_t{1} << 60), "a permutation of {}", size);
  const auto first = stream.block(2 * number);
  const auto second = stream.block(2 * number + 1);
  keys_ = {joined(first[0], first[1]), joined(first[2], first[3]), joined(second[0], second[1]),
           joined(second[2], second[3])};
  const int bits = static_cast<int>(std::bit_width(size_ - 1));
  half_bits_ = bits < 2 ? 1 : (bits + 1) / 2;
  half_mask_ = (std::uint64_t{1} << half_bits_) - 1;
}

std::uint64_t Permutation::mix(int round, std::uint64_t half) const {
  constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15u;
  const auto number = static_cast<std::uint64_t>(round);
  return scramble(keys_[number % 4] ^ (half << 3 | number) * kGolden) & half_mask_;
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
