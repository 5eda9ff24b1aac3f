#include "models/kernels/device/device_maps.h"
#include "models/kernels/device/pixel_tiles.cuh"

namespace kiln {
namespace {

constexpr int kThreads = 256;
constexpr int kSlots = 4;

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    copy_columns_kernel(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride,
                        std::uint32_t count, std::uint32_t per_row) {
  const std::uint32_t first = blockIdx.x * (kThreads * kSlots) + threadIdx.x;
  Pack<T, kWidth> packs[kSlots] = {};
#pragma unroll
  for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
    const std::uint32_t i = first + slot * kThreads;
    if (i < count) {
      packs[slot] = load_pack<T, kWidth>(from + i / per_row * from_stride + i % per_row * kWidth);
    }
  }
#pragma unroll
  for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
    const std::uint32_t i = first + slot * kThreads;
    if (i < count) store_pack(to + i / per_row * to_stride + i % per_row * kWidth, packs[slot]);
  }
}

template <int kWidth, typename T>
void copy_columns(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride,
                  std::int64_t rows, std::int64_t cols, void* stream) {
  const std::int64_t count = rows * (cols / kWidth), per_block = kThreads * kSlots;
  launch("copy columns", copy_columns_kernel<T, kWidth>, (count + per_block - 1) / per_block,
         kThreads, stream, from, from_stride, to, to_stride, static_cast<std::uint32_t>(count),
         static_cast<std::uint32_t>(cols / kWidth));
}

/// A block's share of the weights: one output, kThreads inputs, all taps; in shared memory as in
/// [in, taps], where they lie side by side.
struct Tile {
  std::int64_t plain, channels_last;  // where it begins in either
  int count;                          // inputs

  __device__ explicit Tile(const ConvWeightShape& shape) {
    const std::int64_t per_out = (shape.in + kThreads - 1) / kThreads;
    const std::int64_t out = blockIdx.x / per_out, begin = blockIdx.x % per_out * kThreads;
    const std::int64_t left = shape.in - begin;
    plain = (out * shape.in + begin) * shape.taps;
    channels_last = out * shape.taps * shape.in + begin;
    count = static_cast<int>(left < kThreads ? left : kThreads);
  }
};
template <typename T>
constexpr int kTilePacks = kThreads* ConvWeightShape::kMostTaps / kWidest<T>;

/// pack(first) or single(value) over `count` neighbours.
template <int kWidth, typename PerPack, typename PerValue>
__device__ void over_neighbours(int count, bool has_packs, const PerPack& pack,
                                const PerValue& single) {
  const int packed = has_packs ? count / kWidth * kWidth : 0;
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread * kWidth; i < packed; i += kThreads * kWidth) pack(i);
  for (int i = packed + thread; i < count; i += kThreads) single(i);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    to_channels_last_kernel(const ConvWeightShape shape, const T* from, T* to) {
  __shared__ Pack<T, kWidest<T>> packs[kTilePacks<T>];
  T* values = packs[0].at;
  const Tile tile(shape);
  const T* source = from + tile.plain;
  over_neighbours<kWidest<T>>(
      tile.count * shape.taps, is_aligned(source, 16),
      [&](int i) { store_pack(values + i, load_pack<T, kWidest<T>>(source + i)); },
      [&](int i) { values[i] = source[i]; });
  __syncthreads();
  const int i = static_cast<int>(threadIdx.x);
  if (i >= tile.count) return;
  for (int tap = 0; tap < shape.taps; ++tap) {
    to[tile.channels_last + tap * shape.in + i] = values[i * shape.taps + tap];
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    from_channels_last_kernel(const ConvWeightShape shape, const T* from, T* to, bool is_added) {
  __shared__ Pack<T, kWidest<T>> packs[kTilePacks<T>];
  T* values = packs[0].at;
  const Tile tile(shape);
  const int i = static_cast<int>(threadIdx.x);
  if (i < tile.count) {
#pragma unroll 3
    for (int tap = 0; tap < shape.taps; ++tap) {
      values[i * shape.taps + tap] = from[tile.channels_last + tap * shape.in + i];
    }
  }
  __syncthreads();
  T* target = to + tile.plain;
  const auto add = [&](T& own, T value) {
    is_added ? store(own, load(own) + load(value)) : store(own, load(value));
  };
  over_neighbours<kWidest<T>>(
      tile.count * shape.taps, is_aligned(target, 16),
      [&](int at) {
        auto own = load_pack<T, kWidest<T>>(target + at);
        const auto given = load_pack<T, kWidest<T>>(values + at);
#pragma unroll
        for (int k = 0; k < kWidest<T>; ++k) add(own.at[k], given.at[k]);
        store_pack(target + at, own);
      },
      [&](int at) { add(target[at], values[at]); });
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kTileThreads)
    biased_sum_kernel(const T* a, const T* b, const T* bias, T* sum, const Tiles tiles,
                      std::int64_t channels) {
  const Place<kWidth> place(tiles, channels, blockIdx.x);
  if (place.is_idle) return;
  float added[kWidth];
#pragma unroll
  for (int k = 0; k < kWidth; ++k) added[k] = load(bias[place.c + k]);
  Pack<T, kWidth> first[kInFlight] = {}, second[kInFlight] = {};
  place.over_rows(
      [&](std::int64_t row, int slot) {
        first[slot] = load_pack<T, kWidth>(a + row * channels + place.c);
        second[slot] = load_pack<T, kWidth>(b + row * channels + place.c);
      },
      [&](std::int64_t row, int slot) {
        float values[kWidth];
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
          values[k] = load(first[slot].at[k]) + (load(second[slot].at[k]) + added[k]);
        }
        Pack<T, kWidth> result;
        store_all(result, values);
        store_pack(sum + row * channels + place.c, result);
      });
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kTileThreads)
    column_sums_kernel(const T* x, const Tiles tiles, std::int64_t cols, float* to) {
  const Place<kWidth> place(tiles, cols, blockIdx.x);
  float sums[1][kWidth] = {};
  if (!place.is_idle) {
    Pack<T, kWidth> packs[kInFlight] = {};
    place.over_rows([&](std::int64_t row,
                        int slot) { packs[slot] = load_pack<T, kWidth>(x + row * cols + place.c); },
                    [&](std::int64_t, int slot) {
#pragma unroll
                      for (int k = 0; k < kWidth; ++k) sums[0][k] += load(packs[slot].at[k]);
                    });
  }
  over_totals<1, kWidth>(tiles, place, cols, sums, [&](int c, const float* totals) {
    to[place.chunk * cols + c] = totals[0];
  });
}

template <int kWidth, typename T>
void biased_sum(const T* a, const T* b, const T* bias, T* sum, std::int64_t rows,
                std::int64_t channels, void* stream) {
  const Tiles tiles(PixelChunks(rows, 1, channels), channels / kWidth);
  launch("biased sum", biased_sum_kernel<T, kWidth>, tiles.blocks(), tiles.threads(), stream, a, b,
         bias, sum, tiles, channels);
}

template <int kWidth, typename T>
void column_sums(const T* x, float* sums, std::int64_t rows, std::int64_t cols, void* stream) {
  const Tiles tiles(PixelChunks(rows, 1, cols), cols / kWidth);
  launch("column sums", column_sums_kernel<T, kWidth>, tiles.blocks(), tiles.threads(), stream, x,
         tiles, cols, sums);
}

std::int64_t tiles_of(const ConvWeightShape& shape) {
  return shape.out * ((shape.in + kThreads - 1) / kThreads);
}

}  // namespace

template <typename T>
void device_copy_columns(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride,
                         std::int64_t rows, std::int64_t cols, void* stream) {
  const auto fits = [](const T* base, std::int64_t stride) {
    return is_aligned(base, 16) && stride % kWidest<T> == 0;
  };
  const bool has_packs = cols % kWidest<T> == 0 && fits(from, from_stride) && fits(to, to_stride);
  const auto run = has_packs ? copy_columns<kWidest<T>, T> : copy_columns<1, T>;
  run(from, from_stride, to, to_stride, rows, cols, stream);
}

template <typename T>
void device_weights_to_channels_last(const ConvWeightShape& shape, const T* from, T* to,
                                     void* stream) {
  launch("weights to channels-last", to_channels_last_kernel<T>, tiles_of(shape), kThreads, stream,
         shape, from, to);
}

template <typename T>
void device_weights_from_channels_last(const ConvWeightShape& shape, const T* from, T* to,
                                       bool is_added, void* stream) {
  launch("weights from channels-last", from_channels_last_kernel<T>, tiles_of(shape), kThreads,
         stream, shape, from, to, is_added);
}

template <typename T>
void device_biased_sum(const T* a, const T* b, const T* bias, T* sum, std::int64_t rows,
                       std::int64_t channels, void* stream) {
  const bool has_packs = takes_packs<T, kWidest<T>>(channels, {a, b, sum});
  const auto run = has_packs ? biased_sum<kWidest<T>, T> : biased_sum<1, T>;
  run(a, b, bias, sum, rows, channels, stream);
}

std::int64_t device_column_chunks(std::int64_t rows, std::int64_t cols) {
  return PixelChunks(rows, 1, cols).count();
}

template <typename T>
void device_column_sums(const T* x, float* sums, std::int64_t rows, std::int64_t cols,
                        void* stream) {
  const auto run =
      takes_packs<T, kWidest<T>>(cols, {x}) ? column_sums<kWidest<T>, T> : column_sums<1, T>;
  run(x, sums, rows, cols, stream);
}

#define KILN_INSTANTIATE(T)                                                                     \
  template void device_copy_columns(const T*, std::int64_t, T*, std::int64_t, std::int64_t,     \
                                    std::int64_t, void*);                                       \
  template void device_biased_sum(const T*, const T*, const T*, T*, std::int64_t, std::int64_t, \
                                  void*);                                                       \
  template void device_column_sums(const T*, float*, std::int64_t, std::int64_t, void*);        \
  template void device_weights_to_channels_last(const ConvWeightShape&, const T*, T*, void*);   \
  template void device_weights_from_channels_last(const ConvWeightShape&, const T*, T*, bool, void*)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);
#undef KILN_INSTANTIATE

}  // namespace kiln
