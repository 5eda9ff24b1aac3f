#pragma once

#include <array>
#include <cstdint>

#if defined(__CUDACC__)
#define KILN_HOST_DEVICE __host__ __device__
#else
#define KILN_HOST_DEVICE
#endif

namespace kiln {

/// What random numbers are drawn for. Part of the key, so that no two uses share a stream.
/// Values are part of every run's result: never renumber, only append.
enum class Purpose : std::uint32_t {
  kInit = 0,   // weights: position = index of the parameter
  kOrder = 1,  // shuffling: position = epoch
  kCrop = 2,   // position = sample
  kFlip = 3,
  kMask = 4,
  kNoise = 5,
  kTimestep = 6,
  kDropout = 7,  // position = first sample of the micro-batch
  kLabelDrop = 8,
  kMixup = 9,
  kEvaluation = 10,
  kSampling = 11,  // generating pictures: position = number of the picture
  kPairs = 12,     // sentence pairs
  kLatent = 13,    // drawing z from its moments
  kAugment = 14,
  kProjection = 15,  // directions of a sliced distance: position = number of the direction
  kStart = 21,       // first means of a mixture: position = number of the attempt
};

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11): a pure
/// function from (key, counter) to four 32-bit words, the same on CPU and GPU.
///
/// Kiln draws every random number as philox(key(seed, purpose), counter(position, index)): which
/// rank, thread or moment asks for it has no influence.
KILN_HOST_DEVICE inline std::array<std::uint32_t, 4> philox4x32(
    std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// The random numbers of one (seed, purpose, position): words number 0, 1, 2, ... of its stream.
class Philox {
 public:
  KILN_HOST_DEVICE Philox(std::uint64_t seed, Purpose purpose, std::int64_t position)
      // The seed's two halves are mixed with the purpose so that (seed, purpose) pairs never
      // collide for seeds below 2^32, and any 64-bit seed is usable.
      : key_{static_cast<std::uint32_t>(seed),
             static_cast<std::uint32_t>(seed >> 32) ^ (static_cast<std::uint32_t>(purpose) << 16)},
        position_(static_cast<std::uint64_t>(position)) {}

  /// Four words: numbers 4*index .. 4*index+3.
  KILN_HOST_DEVICE std::array<std::uint32_t, 4> block(std::uint64_t index) const {
    return philox4x32(
        {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
         static_cast<std::uint32_t>(position_), static_cast<std::uint32_t>(position_ >> 32)},
        key_);
  }
  /// The words of blocks first .. first + count - 1: those of block(), many at a time.
  void blocks(std::uint64_t first, std::int64_t count, std::uint32_t* words) const;
  KILN_HOST_DEVICE std::uint32_t word(std::uint64_t number) const {
    return block(number / 4)[number % 4];
  }
  /// Uniform on [0, 1), a multiple of 2^-24: exact in fp32.
  KILN_HOST_DEVICE float uniform(std::uint64_t number) const { return to_unit(word(number)); }
  KILN_HOST_DEVICE static float to_unit(std::uint32_t word) {
    return static_cast<float>(word >> 8) * 0x1.0p-24f;
  }
  /// Uniform on {0, ..., bound-1} by multiply-shift on 64 bits (words 2*number and 2*number+1); the
  /// bias is below 2^-32 for bounds below 2^32.
  KILN_HOST_DEVICE std::int64_t below(std::int64_t bound, std::uint64_t number) const {
    const auto words = block(number / 2);
    const std::uint64_t high = words[number % 2 * 2];
    const std::uint64_t low = words[number % 2 * 2 + 1];
    const std::uint64_t n = static_cast<std::uint64_t>(bound);
    // floor(((high << 32) + low) * n / 2^64) for n < 2^32, without 128-bit integers.
    return static_cast<std::int64_t>((high * n + ((low * n) >> 32)) >> 32);
  }

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint64_t position_;
};

/// Fills `out` with `count` uniform or standard normal (Box-Muller) floats of one stream, starting
/// at its number 0. Normal numbers come in fixed pairs, so they too depend on (stream, index)
/// alone.
void fill_uniform(const Philox& stream, float* out, std::int64_t count);
void fill_normal(const Philox& stream, float* out, std::int64_t count);

}  // namespace kiln
