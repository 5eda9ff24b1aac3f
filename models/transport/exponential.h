#pragma once

#include <bit>
#include <cstdint>

namespace kiln {

/// e^x to about one unit in the last place, in a form that compilers vectorise: 2^k e^r with
/// |r| <= ln(2) / 2 and Taylor's polynomial of degree 13. Below -708 it is 0, above 709 infinite.
inline double exponential(double x) {
  constexpr double kRound = 0x1.8p52;  // added: the sum's low bits are the nearest whole number
  constexpr double kInvLn2 = 0x1.71547652b82fep0;
  constexpr double kLn2High = 0x1.62e42fefa3800p-1, kLn2Low = 0x1.ef35793c76730p-45;
  const double y = x < -708.0 ? -708.0 : x > 709.0 ? 709.0 : x;
  const double shifted = y * kInvLn2 + kRound;
  const double k = shifted - kRound;
  const double r = (y - k * kLn2High) - k * kLn2Low;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const auto exponent = std::bit_cast<std::int64_t>(shifted) << 52;
  const double value = std::bit_cast<double>(std::bit_cast<std::int64_t>(p) + exponent);
  return x < -708.0 ? 0.0 : x > 709.0 ? __builtin_inf() : value;
}

}  // namespace kiln
