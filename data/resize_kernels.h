#pragma once

#include <cstdint>
#include <vector>

namespace kiln {

/// Which inputs make an output value, and with what weights: fixed point with 22 fractional bits.
struct Taps {
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t pair_begin = 0;  // of the first two weights in high_pairs, low_pairs
  const std::int32_t* weights = nullptr;
};

/// The taps of successive outputs. Weights are also kept split, w = high * 2^11 + low, two
/// successive ones side by side as 16-bit integers (an odd last one beside 0), so that one
/// multiply-add instruction takes two taps and sums stay exact.
struct TapTable {
  static constexpr int kPrecisionBits = 22;
  static constexpr int kLowBits = 11;

  /// Outputs [begin, begin + count) of a line of in_size values stretched to out_size by the
  /// antialiased bicubic filter.
  TapTable(std::int64_t in_size, std::int64_t out_size, std::int64_t begin, std::int64_t count);

  std::int64_t first_input() const { return taps.front().first; }
  std::int64_t end_input() const { return taps.back().first + taps.back().count; }

  std::vector<Taps> taps;
  std::vector<std::int32_t> weights;
  std::vector<std::int32_t> high_pairs, low_pairs;
};

/// Bytes that must be readable beyond the end of lines given to the kernels.
inline constexpr std::int64_t kLineSlack = 16;

/// Bytes that must be writable beyond the end of the lines that resize_two_lines_rgb makes.
inline constexpr std::int64_t kResultSlack = 1;

/// Two lines of RGB at once: out[x] = sum of weights * in, rounded to 8 bits, for every output of
/// the table, in its order. Lines need kLineSlack; both may be the same.
void resize_two_lines_rgb(const std::uint8_t* in0, const std::uint8_t* in1, const TapTable& table,
                          std::uint8_t* out0, std::uint8_t* out1);

/// One line of any number of channels.
void resize_line(const std::uint8_t* in, std::int64_t channels, const TapTable& table,
                 std::uint8_t* out);

/// The pixels of a line from right to left, each with its channels in order.
void mirror_line(const std::uint8_t* in, std::int64_t width, std::int64_t channels,
                 std::uint8_t* out);

/// One output line out of the input lines that taps name: `rows` is the first of them, `stride`
/// apart (a multiple of 16). Computes num_bytes values; out needs no slack.
void combine_lines(const std::uint8_t* rows, std::int64_t stride, const Taps& taps,
                   const TapTable& table, std::int64_t num_bytes, std::uint8_t* out);

}  // namespace kiln
