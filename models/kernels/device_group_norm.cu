#include "core/device_launch.cuh"
#include "models/kernels/device_group_norm.h"
#include "models/kernels/row_chunks.h"
#include "models/kernels/running.h"

namespace kiln {
namespace {

// Threads run over channels, which lie side by side in memory; a block has a chunk of pixels.
constexpr int kMostThreads = 256;

/// A channel of a sample: its group's norm and its own scale.
struct Channel {
  float centre, rstd, gamma, beta;  // hat = (x - centre) * rstd

  template <typename T>
  __device__ Channel(const GroupNormMaps<T>& maps, std::int64_t b, std::int64_t c) {
    const std::int64_t g = b * maps.groups + c / (maps.channels / maps.groups);
    centre = maps.mean[g] - (maps.shift ? load(maps.shift[b * maps.channels + c]) : 0.0f);
    rstd = maps.rstd[g];
    gamma = load(maps.gamma[c]);
    beta = load(maps.beta[c]);
  }
  __device__ float hat(float x) const { return (x - centre) * rstd; }
  /// The gradient before the activation.
  __device__ float slope(float hat, float dy, bool has_silu) const {
    return has_silu ? dy * silu(multiply_add(hat, gamma, beta)).slope : dy;
  }
};

/// partial [chunks, channels, 2]: mean and squares of a chunk's pixels.
template <typename T>
__global__ void __launch_bounds__(kMostThreads)
    moments_kernel(const GroupNormMaps<T> maps, const RowChunks chunks, float* partial) {
  const std::int64_t chunk = blockIdx.x, b = chunks.group_of(chunk), C = maps.channels;
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x) {
    const float shift = maps.shift ? load(maps.shift[b * C + c]) : 0.0f;
    Moments own;
    for (std::int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      own.add(load(maps.x[row * C + c]) + shift);
    }
    partial[(chunk * C + c) * 2] = own.mean;
    partial[(chunk * C + c) * 2 + 1] = own.squares;
  }
}

// One warp a group of a sample.
template <typename T>
__global__ void __launch_bounds__(32)
    merge_kernel(const GroupNormMaps<T> maps, const RowChunks chunks, const float* partial) {
  const std::int64_t C = maps.channels, per_group = C / maps.groups;
  const std::int64_t b = blockIdx.x / maps.groups, g = blockIdx.x % maps.groups;
  const std::int64_t first = b * chunks.per_group();
  Moments own;
  for (std::int64_t i = threadIdx.x; i < chunks.per_group() * per_group; i += 32) {
    const std::int64_t chunk = first + i / per_group, c = g * per_group + i % per_group;
    const float* from = partial + (chunk * C + c) * 2;
    own.merge({static_cast<float>(chunks.end(chunk) - chunks.begin(chunk)), from[0], from[1]});
  }
  for (int step = 16; step > 0; step /= 2) {
    Moments other;
    other.count = __shfl_down_sync(0xffffffffu, own.count, step);
    other.mean = __shfl_down_sync(0xffffffffu, own.mean, step);
    other.squares = __shfl_down_sync(0xffffffffu, own.squares, step);
    if (threadIdx.x + static_cast<unsigned>(step) < 32) own.merge(other);
  }
  if (threadIdx.x != 0) return;
  maps.mean[blockIdx.x] = own.mean;
  maps.rstd[blockIdx.x] = 1.0f / sqrtf(own.squares / own.count + maps.eps);
}

template <typename T>
__global__ void __launch_bounds__(kMostThreads)
    apply_kernel(const GroupNormMaps<T> maps, const RowChunks chunks) {
  const std::int64_t chunk = blockIdx.x, b = chunks.group_of(chunk), C = maps.channels;
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x) {
    const Channel channel(maps, b, c);
    const float scale = channel.rstd * channel.gamma;
    const float offset = channel.beta - channel.centre * scale;
    for (std::int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const float z = multiply_add(load(maps.x[row * C + c]), scale, offset);
      store(maps.y[row * C + c], maps.has_silu ? silu(z).value : z);
    }
  }
}

/// partial [chunks, 3, channels]: sums over a chunk's pixels of d, d * hat and hat, where d is the
/// gradient before the activation.
template <typename T>
__global__ void __launch_bounds__(kMostThreads)
    sums_kernel(const GroupNormMaps<T> maps, const RowChunks chunks, const T* dy, float* partial) {
  const std::int64_t chunk = blockIdx.x, b = chunks.group_of(chunk), C = maps.channels;
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x) {
    const Channel channel(maps, b, c);
    float sums[3] = {};
    for (std::int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const float hat = channel.hat(load(maps.x[row * C + c]));
      const float d = channel.slope(hat, load(dy[row * C + c]), maps.has_silu);
      sums[0] += d;
      sums[1] = multiply_add(d, hat, sums[1]);
      sums[2] += hat;
    }
    for (int k = 0; k < 3; ++k) partial[(chunk * 3 + k) * C + c] = sums[k];
  }
}

/// totals [samples, 3, channels] of partial, chunks in order. One block a sample.
__global__ void __launch_bounds__(kMostThreads)
    total_kernel(const RowChunks chunks, std::int64_t width, const float* partial, float* totals) {
  const std::int64_t b = blockIdx.x;
  for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x) {
    float sum = 0.0f;
    for (std::int64_t k = 0; k < chunks.per_group(); ++k) {
      sum += partial[(b * chunks.per_group() + k) * width + i];
    }
    totals[b * width + i] = sum;
  }
}

/// The gradients of gamma, beta and shift, and means [samples, groups, 2] of gamma d and
/// gamma d hat. One block a sample.
template <typename T>
__global__ void __launch_bounds__(kMostThreads)
    rows_kernel(const GroupNormMaps<T> maps, const float* totals, float* means, float* dgamma,
                float* dbeta, float* dshift) {
  const std::int64_t b = blockIdx.x, C = maps.channels, per_group = C / maps.groups;
  const float *d = totals + b * 3 * C, *d_hat = d + C, *hats = d_hat + C;
  const auto count = static_cast<float>(maps.pixels * per_group);
  for (std::int64_t g = threadIdx.x; g < maps.groups; g += blockDim.x) {
    float c1 = 0.0f, c2 = 0.0f;
    for (std::int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      c1 = multiply_add(load(maps.gamma[c]), d[c], c1);
      c2 = multiply_add(load(maps.gamma[c]), d_hat[c], c2);
    }
    means[(b * maps.groups + g) * 2] = c1 / count;
    means[(b * maps.groups + g) * 2 + 1] = c2 / count;
  }
  __syncthreads();
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x) {
    dbeta[b * C + c] = d[c];
    dgamma[b * C + c] = d_hat[c];
    if (!dshift) continue;
    const std::int64_t g = b * maps.groups + c / per_group;
    const float from_means =
        static_cast<float>(maps.pixels) * means[g * 2] + means[g * 2 + 1] * hats[c];
    dshift[b * C + c] = maps.rstd[g] * (load(maps.gamma[c]) * d[c] - from_means);
  }
}

template <typename T>
__global__ void __launch_bounds__(kMostThreads)
    finish_kernel(const GroupNormMaps<T> maps, const RowChunks chunks, const T* dy,
                  const float* means, T* dx) {
  const std::int64_t chunk = blockIdx.x, b = chunks.group_of(chunk), C = maps.channels;
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x) {
    const Channel channel(maps, b, c);
    const std::int64_t g = b * maps.groups + c / (C / maps.groups);
    const float c1 = means[g * 2], c2 = means[g * 2 + 1];
    for (std::int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const float hat = channel.hat(load(maps.x[row * C + c]));
      const float d = channel.slope(hat, load(dy[row * C + c]), maps.has_silu);
      store(dx[row * C + c], channel.rstd * (channel.gamma * d - c1 - hat * c2));
    }
  }
}

}  // namespace

std::int64_t device_group_norm_scratch(std::int64_t samples, std::int64_t pixels,
                                       std::int64_t channels, std::int64_t groups) {
  const RowChunks chunks{pixels, samples};
  return (chunks.count() + samples) * 3 * channels + samples * groups * 2;
}

template <typename T>
void device_group_norm(const GroupNormMaps<T>& maps, std::int64_t samples, float* scratch,
                       void* stream) {
  const RowChunks chunks{maps.pixels, samples};
  const int threads = threads_to_cover(maps.channels, kMostThreads);
  launch("group norm: moments", moments_kernel<T>, chunks.count(), threads, stream, maps, chunks,
         scratch);
  launch("group norm: merge", merge_kernel<T>, samples * maps.groups, 32, stream, maps, chunks,
         scratch);
  launch("group norm: apply", apply_kernel<T>, chunks.count(), threads, stream, maps, chunks);
}

template <typename T>
void device_group_norm_backward(const GroupNormMaps<T>& maps, const T* dy, T* dx, float* dgamma,
                                float* dbeta, float* dshift, std::int64_t samples, float* scratch,
                                void* stream) {
  const RowChunks chunks{maps.pixels, samples};
  const std::int64_t width = 3 * maps.channels;
  const int threads = threads_to_cover(maps.channels, kMostThreads);
  float* totals = scratch + chunks.count() * width;
  float* means = totals + samples * width;
  launch("group norm: sums", sums_kernel<T>, chunks.count(), threads, stream, maps, chunks, dy,
         scratch);
  launch("group norm: totals", total_kernel, samples, threads_to_cover(width, kMostThreads), stream,
         chunks, width, scratch, totals);
  launch("group norm: rows", rows_kernel<T>, samples, threads, stream, maps, totals, means, dgamma,
         dbeta, dshift);
  launch("group norm: finish", finish_kernel<T>, chunks.count(), threads, stream, maps, chunks, dy,
         means, dx);
}

#define KILN_INSTANTIATE(T)                                                                       \
  template void device_group_norm(const GroupNormMaps<T>&, std::int64_t, float*, void*);          \
  template void device_group_norm_backward(const GroupNormMaps<T>&, const T*, T*, float*, float*, \
                                           float*, std::int64_t, float*, void*)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);
#undef KILN_INSTANTIATE

}  // namespace kiln
