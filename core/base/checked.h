#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>

namespace kiln {

/// Arithmetic on numbers that a file's header states: nothing where a factor is negative or the
/// result does not fit.
inline std::optional<std::int64_t> checked_product(std::int64_t a, std::int64_t b) {
  if (a < 0 || b < 0) return std::nullopt;
  if (a != 0 && b > std::numeric_limits<std::int64_t>::max() / a) return std::nullopt;
  return a * b;
}

/// The product of all factors; 1 for none.
inline std::optional<std::int64_t> checked_product(std::span<const std::int64_t> factors) {
  std::optional<std::int64_t> product = 1;
  for (const std::int64_t factor : factors) {
    if (factor == 0) return 0;
    if (product) product = checked_product(*product, factor);
  }
  return product;
}

inline std::optional<std::int64_t> checked_sum(std::int64_t a, std::int64_t b) {
  if (a < 0 || b < 0 || a > std::numeric_limits<std::int64_t>::max() - b) return std::nullopt;
  return a + b;
}

}  // namespace kiln
