#pragma once

#include "core/device/device_launch.cuh"
#include "core/device/device_pack.cuh"
#include "models/kernels/elements.h"

// How kernels over channels-last maps [samples, pixels, channels] cut them into blocks, and the
// sums of blocks.

namespace kiln {

inline constexpr int kTileThreads = 256;
// Packs of a tensor that a thread has loaded before it needs one.
inline constexpr int kInFlight = 2;

/// Pixels of a sample in chunks of equal size, which depends on the shape alone: the unit of sums.
struct PixelChunks {
  std::int64_t pixels, samples, rows;
  std::uint32_t per_sample;

  PixelChunks(std::int64_t sample_pixels, std::int64_t num_samples, std::int64_t channels)
      : pixels(sample_pixels), samples(num_samples) {
    // What a block's threads take at once, in bf16; often enough to make up for the chunk's sums,
    // unless too few blocks would be left.
    constexpr std::int64_t kFewBlocks = 512;
    const std::int64_t at_once = channels < 2048 ? 2048 / channels : 1;
    cut(8 * at_once);
    while (rows > 2 * at_once && count() < kFewBlocks) cut(rows / 2);
  }
  std::int64_t count() const { return samples * per_sample; }
  /// Rows of chunk number `chunk` of a sample.
  __device__ std::int64_t rows_of(std::int64_t chunk) const {
    return pixels - chunk * rows < rows ? pixels - chunk * rows : rows;
  }

 private:
  void cut(std::int64_t rows_each) {
    rows = rows_each;
    per_sample = static_cast<std::uint32_t>((pixels + rows - 1) / rows);
  }
};

/// A block has a chunk of pixels and `width` packs of channels side by side; its threads `at_once`
/// rows of those.
struct Tiles {
  PixelChunks chunks;
  int width, at_once, per_row;

  Tiles(const PixelChunks& all, std::int64_t packs) : chunks(all) {
    per_row = static_cast<int>((packs + kTileThreads - 1) / kTileThreads);
    width = static_cast<int>((packs + per_row - 1) / per_row);
    at_once = kTileThreads / width;
  }
  std::int64_t blocks() const { return chunks.count() * per_row; }
  int threads() const { return threads_to_cover(std::int64_t{width} * at_once, kTileThreads); }
};

/// Where a thread is: rows [first, end) in steps of step, packs that begin with channel c.
template <int kLanes>
struct Place {
  std::int64_t chunk, b, begin, end, first;
  int step, tile_begin, c;
  bool is_idle;

  // Divisions of 32 bits: those of 64 take a hundred instructions.
  __device__ Place(const Tiles& tiles, std::int64_t channels, std::uint32_t block) {
    const int thread = static_cast<int>(threadIdx.x), row = thread / tiles.width;
    const auto per_row = static_cast<std::uint32_t>(tiles.per_row);
    const std::uint32_t number = block / per_row;
    const std::uint32_t of_sample = number % tiles.chunks.per_sample;
    chunk = number;
    b = number / tiles.chunks.per_sample;
    begin = b * tiles.chunks.pixels + of_sample * tiles.chunks.rows;
    end = begin + tiles.chunks.rows_of(of_sample);
    first = begin + row;
    step = tiles.at_once;
    tile_begin = static_cast<int>(block % per_row) * tiles.width * kLanes;
    c = tile_begin + thread % tiles.width * kLanes;
    is_idle = row >= tiles.at_once || c >= channels;
  }
  /// load(row, slot) for kInFlight rows, then use(row, slot), until there are none.
  template <typename Load, typename Use>
  __device__ void over_rows(const Load& load, const Use& use) const {
    for (std::int64_t row = first; row < end; row += kInFlight * step) {
#pragma unroll
      for (int slot = 0; slot < kInFlight; ++slot) {
        if (row + slot * step < end) load(row + slot * step, slot);
      }
#pragma unroll
      for (int slot = 0; slot < kInFlight; ++slot) {
        if (row + slot * step < end) use(row + slot * step, slot);
      }
    }
  }
  /// call(lane, group of the sample)
  template <typename Call>
  __device__ void over_lanes(int per_group, const Call& call) const {
    int g = c / per_group, within = c - g * per_group;
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      call(lane, g);
      if (++within < per_group) continue;
      within = 0;
      ++g;
    }
  }
};

// What was read last is read first by the next kernel: it may still be in the cache.
__device__ inline std::uint32_t block_from_the_end() { return gridDim.x - 1 - blockIdx.x; }

/// Adds `sums` [kSums][kLanes] of a tile's threads up, rows in order: call(channel, totals).
template <int kSums, int kLanes, typename Call>
__device__ void over_totals(const Tiles& tiles, const Place<kLanes>& place, std::int64_t channels,
                            const float (&sums)[kSums][kLanes], const Call& call) {
  __shared__ float parts[kSums][kTileThreads * kLanes];
  for (int k = 0; k < kSums; ++k) {
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      parts[k][threadIdx.x * kLanes + static_cast<unsigned>(lane)] = sums[k][lane];
    }
  }
  __syncthreads();
  const int width = tiles.width * kLanes;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) {
    if (place.tile_begin + i >= channels) return;
    float totals[kSums] = {};
    for (int row = 0; row < tiles.at_once; ++row) {
#pragma unroll
      for (int k = 0; k < kSums; ++k) totals[k] += parts[k][row * width + i];
    }
    call(place.tile_begin + i, totals);
  }
}

__device__ inline void store_both(Bf16* to, float first, float second) {
#if defined(__CUDA_ARCH__)
  std::uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
  memcpy(to, &both, sizeof(both));
#else
  store(to[0], first);
  store(to[1], second);
#endif
}

template <typename T, int kLanes>
__device__ void store_all(Pack<T, kLanes>& to, const float (&values)[kLanes]) {
  if constexpr (sizeof(T) == sizeof(Bf16) && kLanes % 2 == 0) {
#pragma unroll
    for (int k = 0; k < kLanes; k += 2) store_both(to.at + k, values[k], values[k + 1]);
  } else {
#pragma unroll
    for (int k = 0; k < kLanes; ++k) store(to.at[k], values[k]);
  }
}

/// Whether rows of `channels` that begin at the pointers fall into packs.
template <typename T, int kLanes>
bool takes_packs(std::int64_t channels, std::initializer_list<const void*> maps) {
  return channels % kLanes == 0 && are_aligned(maps, kLanes * sizeof(T));
}

}  // namespace kiln
