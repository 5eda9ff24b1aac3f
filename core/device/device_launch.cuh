#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

// What kernel files share: the launch, and sums over a block.

namespace kiln {

template <typename T>
struct Same {
  using Type = T;
};

/// Queues kernel(args...) on the stream. Nothing is queued for no blocks. A launch fails only
/// through an error of ours (a wrong shape, a build for another GPU), so it aborts.
template <typename... P>
void launch(const char* what, void (*kernel)(P...), std::int64_t blocks, int threads, void* stream,
            typename Same<P>::Type... args) {
  if (blocks == 0) return;
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&args))...};
  const cudaError_t error = cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)),
                                             dim3(static_cast<unsigned>(threads)), pointers, 0,
                                             static_cast<cudaStream_t>(stream));
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "kiln: CUDA kernel %s: %s\n", what, cudaGetErrorString(error));
  std::abort();
}

/// A multiple of 32 that covers `count` items, at most `most`.
inline int threads_to_cover(std::int64_t count, int most) {
  const std::int64_t threads = (count + 31) / 32 * 32;
  return static_cast<int>(threads < most ? threads : most);
}

/// Sum over the block, in all threads: lanes of a warp by halves, then the warps in order.
/// blockDim.x is a multiple of 32.
template <typename T>
__device__ T block_sum(T value) {
  __shared__ T warps[32];
  __shared__ T total;
  for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
  __syncthreads();  // the last call's total may still be read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    T sum = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) sum += warps[warp];
    total = sum;
  }
  __syncthreads();
  return total;
}

}  // namespace kiln
