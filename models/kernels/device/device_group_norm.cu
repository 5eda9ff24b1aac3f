#include "models/kernels/device/device_group_norm.h"
#include "models/kernels/device/pixel_tiles.cuh"

namespace kiln {
namespace {

constexpr int kGroupThreads = 128;  // of the kernels that have a block for a group of a sample

/// A channel of a sample: hat = (x - centre) * rstd, and scale = rstd * gamma.
struct Channel {
  float centre, rstd, scale, beta;

  template <typename T>
  __device__ Channel(const GroupNormMaps<T>& maps, std::int64_t b, std::int64_t c, std::int64_t g) {
    const std::int64_t at = b * maps.groups + g;
    centre = maps.mean[at] - (maps.shift ? load(maps.shift[b * maps.channels + c]) : 0.0f);
    rstd = maps.rstd[at];
    scale = rstd * load(maps.gamma[c]);
    beta = load(maps.beta[c]);
  }
};

template <typename T>
__device__ int channels_of_group(const GroupNormMaps<T>& maps) {
  return static_cast<int>(maps.channels) / static_cast<int>(maps.groups);
}

/// partial [chunks, 2, channels]: mean and squared deviations of a chunk's pixels. Both come from
/// sums of differences from the first pixel. It lies among the others, so no digits cancel.
template <typename T, int kLanes>
__global__ void __launch_bounds__(kTileThreads)
    moments_kernel(const GroupNormMaps<T> maps, const Tiles tiles, float* partial) {
  const std::int64_t C = maps.channels;
  const Place<kLanes> place(tiles, C, blockIdx.x);
  const T* first = maps.x + place.begin * C;
  float sums[2][kLanes] = {};
  if (!place.is_idle) {
    float origin[kLanes];
    const auto origins = load_pack<T, kLanes>(first + place.c);
#pragma unroll
    for (int k = 0; k < kLanes; ++k) origin[k] = load(origins.at[k]);
    Pack<T, kLanes> x[kInFlight] = {};
    place.over_rows([&](std::int64_t row,
                        int slot) { x[slot] = load_pack<T, kLanes>(maps.x + row * C + place.c); },
                    [&](std::int64_t, int slot) {
#pragma unroll
                      for (int k = 0; k < kLanes; ++k) {
                        const float off = load(x[slot].at[k]) - origin[k];
                        sums[0][k] += off;
                        sums[1][k] = multiply_add(off, off, sums[1][k]);
                      }
                    });
  }
  const auto count = static_cast<float>(place.end - place.begin);
  over_totals<2, kLanes>(tiles, place, C, sums, [&](int c, const float* totals) {
    const float off = totals[0] / count;
    const float shift = maps.shift ? load(maps.shift[place.b * C + c]) : 0.0f;
    partial[place.chunk * 2 * C + c] = load(first[c]) + shift + off;
    partial[(place.chunk * 2 + 1) * C + c] = totals[1] - totals[0] * off;
  });
}

// One block a group of a sample.
template <typename T>
__global__ void __launch_bounds__(kGroupThreads)
    merge_kernel(const GroupNormMaps<T> maps, const PixelChunks chunks, const float* partial) {
  const std::int64_t C = maps.channels, b = blockIdx.x / maps.groups, g = blockIdx.x % maps.groups;
  const int per_group = channels_of_group(maps);
  const int items = static_cast<int>(chunks.per_sample) * per_group;
  const float* of_group = partial + b * chunks.per_sample * 2 * C + g * per_group;
  const auto over_items = [&](const auto& call) {
    for (int i = static_cast<int>(threadIdx.x); i < items; i += kGroupThreads) {
      const int chunk = i / per_group;
      call(static_cast<float>(chunks.rows_of(chunk)),
           of_group + std::int64_t{chunk} * 2 * C + i % per_group);
    }
  };
  const auto count = static_cast<float>(maps.pixels * per_group);
  float sum = 0.0f, squares = 0.0f;
  over_items([&](float rows, const float* from) { sum = multiply_add(rows, from[0], sum); });
  const float mean = block_sum(sum) / count;
  over_items([&](float rows, const float* from) {
    const float off = from[0] - mean;
    squares += multiply_add(rows * off, off, from[C]);
  });
  squares = block_sum(squares);
  if (threadIdx.x != 0) return;
  maps.mean[blockIdx.x] = mean;
  maps.rstd[blockIdx.x] = 1.0f / sqrtf(squares / count + maps.eps);
}

template <typename T, int kLanes>
__global__ void __launch_bounds__(kTileThreads)
    apply_kernel(const GroupNormMaps<T> maps, const Tiles tiles) {
  const std::int64_t C = maps.channels;
  const Place<kLanes> place(tiles, C, block_from_the_end());
  if (place.is_idle) return;
  float scale[kLanes], offset[kLanes];
  place.over_lanes(channels_of_group(maps), [&](int k, int g) {
    const Channel channel(maps, place.b, place.c + k, g);
    scale[k] = channel.scale;
    offset[k] = channel.beta - channel.centre * channel.scale;
  });
  Pack<T, kLanes> x[kInFlight] = {};
  place.over_rows([&](std::int64_t row,
                      int slot) { x[slot] = load_pack<T, kLanes>(maps.x + row * C + place.c); },
                  [&](std::int64_t row, int slot) {
                    float values[kLanes];
#pragma unroll
                    for (int k = 0; k < kLanes; ++k) {
                      const float z = multiply_add(load(x[slot].at[k]), scale[k], offset[k]);
                      values[k] = maps.has_silu ? silu(z).value : z;
                    }
                    Pack<T, kLanes> y;
                    store_all(y, values);
                    store_pack(maps.y + row * C + place.c, y);
                  });
}

/// partial [chunks, kSums, channels]: sums over a chunk's pixels of d, d * hat and (kSums = 3) hat,
/// where d is the gradient before the activation.
template <typename T, int kLanes, int kSums>
__global__ void __launch_bounds__(kTileThreads)
    sums_kernel(const GroupNormMaps<T> maps, const Tiles tiles, const T* dy, float* partial) {
  const std::int64_t C = maps.channels;
  const Place<kLanes> place(tiles, C, blockIdx.x);
  float sums[kSums][kLanes] = {};
  if (!place.is_idle) {
    float centre[kLanes], scale[kLanes], beta[kLanes];
    place.over_lanes(channels_of_group(maps), [&](int k, int g) {
      const Channel channel(maps, place.b, place.c + k, g);
      centre[k] = channel.centre;
      scale[k] = channel.scale;
      beta[k] = channel.beta;
    });
    Pack<T, kLanes> x[kInFlight] = {}, d[kInFlight] = {};
    place.over_rows(
        [&](std::int64_t row, int slot) {
          x[slot] = load_pack<T, kLanes>(maps.x + row * C + place.c);
          d[slot] = load_pack<T, kLanes>(dy + row * C + place.c);
        },
        [&](std::int64_t, int slot) {
#pragma unroll
          for (int k = 0; k < kLanes; ++k) {
            const float off = load(x[slot].at[k]) - centre[k];
            float slope = load(d[slot].at[k]);
            if (maps.has_silu) slope *= silu(multiply_add(off, scale[k], beta[k])).slope;
            sums[0][k] += slope;
            sums[1][k] = multiply_add(slope, off, sums[1][k]);
            if constexpr (kSums == 3) sums[2][k] += off;
          }
        });
  }
  const int per_group = channels_of_group(maps);
  over_totals<kSums, kLanes>(tiles, place, C, sums, [&](int c, const float* totals) {
    const float rstd = maps.rstd[place.b * maps.groups + c / per_group];
    float* to = partial + place.chunk * kSums * C + c;
    to[0] = totals[0];
    for (int k = 1; k < kSums; ++k) to[k * C] = totals[k] * rstd;
  });
}

/// The gradients of gamma, beta and (kSums = 3) shift, and means [samples, groups, 2] of gamma d
/// and gamma d hat. One block a group of a sample: threads side by side have channels, the others
/// every so many chunks of the same.
template <typename T, int kSums>
__global__ void __launch_bounds__(kGroupThreads)
    rows_kernel(const GroupNormMaps<T> maps, const PixelChunks chunks, const float* partial,
                float* means, float* dgamma, float* dbeta, float* dshift) {
  __shared__ float parts[kSums][kGroupThreads];
  const std::int64_t C = maps.channels, b = blockIdx.x / maps.groups, g = blockIdx.x % maps.groups;
  const int per_group = channels_of_group(maps);
  const int width = per_group < kGroupThreads ? per_group : kGroupThreads;
  const int num_parts = kGroupThreads / width;
  const int thread = static_cast<int>(threadIdx.x), part = thread / width, lane = thread % width;
  const int per_sample = static_cast<int>(chunks.per_sample);
  float c1 = 0.0f, c2 = 0.0f;
  for (int begin = 0; begin < per_group; begin += width) {
    const bool is_there = begin + lane < per_group;
    const std::int64_t c = g * per_group + begin + lane, at = b * C + c;
    float sums[kSums] = {};
    for (int chunk = part; is_there && part < num_parts && chunk < per_sample; chunk += num_parts) {
#pragma unroll
      for (int k = 0; k < kSums; ++k) {
        sums[k] += partial[((b * per_sample + chunk) * kSums + k) * C + c];
      }
    }
#pragma unroll
    for (int k = 0; k < kSums; ++k) parts[k][thread] = sums[k];
    __syncthreads();
    if (is_there && part == 0) {
      for (int other = 1; other < num_parts; ++other) {
#pragma unroll
        for (int k = 0; k < kSums; ++k) sums[k] += parts[k][other * width + lane];
      }
      const float gamma = load(maps.gamma[c]);
      c1 = multiply_add(gamma, sums[0], c1);
      c2 = multiply_add(gamma, sums[1], c2);
      dbeta[at] = sums[0];
      dgamma[at] = sums[1];
      if constexpr (kSums == 3) dshift[at] = sums[2];
    }
    __syncthreads();
  }
  const auto count = static_cast<float>(maps.pixels * per_group);
  c1 = block_sum(c1) / count;
  c2 = block_sum(c2) / count;
  if (thread == 0) {
    means[std::int64_t{blockIdx.x} * 2] = c1;
    means[std::int64_t{blockIdx.x} * 2 + 1] = c2;
  }
  if constexpr (kSums == 3) {
    for (int i = lane; part == 0 && i < per_group; i += width) {
      const std::int64_t c = g * per_group + i, at = b * C + c;
      const float from_means = multiply_add(static_cast<float>(maps.pixels), c1, c2 * dshift[at]);
      dshift[at] = maps.rstd[blockIdx.x] * (load(maps.gamma[c]) * dbeta[at] - from_means);
    }
  }
}

template <typename T, int kLanes>
__global__ void __launch_bounds__(kTileThreads)
    finish_kernel(const GroupNormMaps<T> maps, const Tiles tiles, const T* dy, const float* means,
                  T* dx) {
  const std::int64_t C = maps.channels;
  const Place<kLanes> place(tiles, C, block_from_the_end());
  if (place.is_idle) return;
  // rstd (gamma d - c1 - hat c2) = scale d + factor (x - centre) + offset
  float centre[kLanes], scale[kLanes], beta[kLanes], factor[kLanes], offset[kLanes];
  place.over_lanes(channels_of_group(maps), [&](int k, int g) {
    const Channel channel(maps, place.b, place.c + k, g);
    const float* of_group = means + (place.b * maps.groups + g) * 2;
    centre[k] = channel.centre;
    scale[k] = channel.scale;
    beta[k] = channel.beta;
    factor[k] = -channel.rstd * channel.rstd * of_group[1];
    offset[k] = -channel.rstd * of_group[0];
  });
  Pack<T, kLanes> x[kInFlight] = {}, d[kInFlight] = {};
  place.over_rows(
      [&](std::int64_t row, int slot) {
        x[slot] = load_pack<T, kLanes>(maps.x + row * C + place.c);
        d[slot] = load_pack<T, kLanes>(dy + row * C + place.c);
      },
      [&](std::int64_t row, int slot) {
        float values[kLanes];
#pragma unroll
        for (int k = 0; k < kLanes; ++k) {
          const float off = load(x[slot].at[k]) - centre[k];
          float slope = load(d[slot].at[k]);
          if (maps.has_silu) slope *= silu(multiply_add(off, scale[k], beta[k])).slope;
          values[k] = multiply_add(scale[k], slope, multiply_add(factor[k], off, offset[k]));
        }
        Pack<T, kLanes> result;
        store_all(result, values);
        store_pack(dx + row * C + place.c, result);
      });
}

// Loads 16 bytes at a time, backward four elements: eight would need more registers and leave fewer
// threads.
template <typename T>
constexpr int kForwardLanes = kWidest<T>;
constexpr int kBackwardLanes = 4;

PixelChunks chunks_of(std::int64_t samples, std::int64_t pixels, std::int64_t channels) {
  return {pixels, samples, channels};
}

template <int kLanes, typename T>
void forward(const GroupNormMaps<T>& maps, std::int64_t samples, float* scratch, void* stream) {
  const PixelChunks chunks = chunks_of(samples, maps.pixels, maps.channels);
  const Tiles tiles(chunks, maps.channels / kLanes);
  launch("group norm: moments", moments_kernel<T, kLanes>, tiles.blocks(), tiles.threads(), stream,
         maps, tiles, scratch);
  launch("group norm: merge", merge_kernel<T>, samples * maps.groups, kGroupThreads, stream, maps,
         chunks, scratch);
  launch("group norm: apply", apply_kernel<T, kLanes>, tiles.blocks(), tiles.threads(), stream,
         maps, tiles);
}

template <int kLanes, int kSums, typename T>
void backward(const GroupNormMaps<T>& maps, const T* dy, T* dx, float* dgamma, float* dbeta,
              float* dshift, std::int64_t samples, float* scratch, void* stream) {
  const PixelChunks chunks = chunks_of(samples, maps.pixels, maps.channels);
  const Tiles tiles(chunks, maps.channels / kLanes);
  float* means = scratch + chunks.count() * kSums * maps.channels;
  launch("group norm: sums", sums_kernel<T, kLanes, kSums>, tiles.blocks(), tiles.threads(), stream,
         maps, tiles, dy, scratch);
  launch("group norm: rows", rows_kernel<T, kSums>, samples * maps.groups, kGroupThreads, stream,
         maps, chunks, scratch, means, dgamma, dbeta, dshift);
  launch("group norm: finish", finish_kernel<T, kLanes>, tiles.blocks(), tiles.threads(), stream,
         maps, tiles, dy, means, dx);
}

}  // namespace

std::int64_t device_group_norm_scratch(std::int64_t samples, std::int64_t pixels,
                                       std::int64_t channels, std::int64_t groups) {
  return chunks_of(samples, pixels, channels).count() * 3 * channels + samples * groups * 2;
}

template <typename T>
void device_group_norm(const GroupNormMaps<T>& maps, std::int64_t samples, float* scratch,
                       void* stream) {
  constexpr int kLanes = kForwardLanes<T>;
  const bool has_packs = takes_packs<T, kLanes>(maps.channels, {maps.x, maps.y});
  const auto run = has_packs ? forward<kLanes, T> : forward<1, T>;
  run(maps, samples, scratch, stream);
}

template <typename T>
void device_group_norm_backward(const GroupNormMaps<T>& maps, const T* dy, T* dx, float* dgamma,
                                float* dbeta, float* dshift, std::int64_t samples, float* scratch,
                                void* stream) {
  const bool has_packs = takes_packs<T, kBackwardLanes>(maps.channels, {maps.x, dy, dx});
  auto run = has_packs ? backward<kBackwardLanes, 2, T> : backward<1, 2, T>;
  if (dshift) run = has_packs ? backward<kBackwardLanes, 3, T> : backward<1, 3, T>;
  run(maps, dy, dx, dgamma, dbeta, dshift, samples, scratch, stream);
}

#define KILN_INSTANTIATE(T)                                                                       \
  template void device_group_norm(const GroupNormMaps<T>&, std::int64_t, float*, void*);          \
  template void device_group_norm_backward(const GroupNormMaps<T>&, const T*, T*, float*, float*, \
                                           float*, std::int64_t, float*, void*)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);
#undef KILN_INSTANTIATE

}  // namespace kiln
