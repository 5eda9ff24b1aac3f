#include "core/device/device_launch.cuh"
#include "models/kernels/device/device_patches.h"

namespace kiln {
namespace {

constexpr int kThreads = 128;

template <typename T>
__device__ float pixel(const MaskedPatches<T>& work, const std::uint8_t* image, std::int64_t l,
                       std::int64_t v) {
  const std::int64_t c = v % work.grid.channels;
  return multiply_add(static_cast<float>(image[work.grid.offset(l, v)]), work.scale[c],
                      work.shift[c]);
}

// One block a patch. Each pass reads the bytes again, from the cache.
template <typename T>
__global__ void __launch_bounds__(kThreads) masked_patches_kernel(const MaskedPatches<T> work) {
  const std::int64_t b = blockIdx.x / work.patches, j = blockIdx.x % work.patches;
  const std::int64_t values = work.grid.values(), V = work.num_visible;
  const std::uint8_t* image = work.images + b * work.image_values;
  const std::int64_t l = work.ids[blockIdx.x];
  if (j < V) {
    T* to = work.visible + (b * V + j) * values;
    for (std::int64_t v = threadIdx.x; v < values; v += kThreads) {
      store(to[v], pixel(work, image, l, v));
    }
    return;
  }
  float mean = 0.0f, rstd = 1.0f;
  if (work.has_normalised_targets) {
    float sum = 0.0f, squares = 0.0f;
    for (std::int64_t v = threadIdx.x; v < values; v += kThreads) sum += pixel(work, image, l, v);
    mean = block_sum(sum) / static_cast<float>(values);
    for (std::int64_t v = threadIdx.x; v < values; v += kThreads) {
      const float off = pixel(work, image, l, v) - mean;
      squares = multiply_add(off, off, squares);
    }
    rstd = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(values - 1) + 1e-6f);
  }
  float* to = work.target + (b * (work.patches - V) + j - V) * values;
  for (std::int64_t v = threadIdx.x; v < values; v += kThreads) {
    to[v] = (pixel(work, image, l, v) - mean) * rstd;
  }
}

}  // namespace

template <typename T>
void device_masked_patches(const MaskedPatches<T>& work, std::int64_t samples, void* stream) {
  launch("masked patches", masked_patches_kernel<T>, samples * work.patches, kThreads, stream,
         work);
}

template void device_masked_patches(const MaskedPatches<float>&, std::int64_t, void*);
template void device_masked_patches(const MaskedPatches<Bf16>&, std::int64_t, void*);

}  // namespace kiln
