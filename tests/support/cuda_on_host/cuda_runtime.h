#pragma once

// As much of CUDA's language and runtime as our kernels use, carried out by threads of the host:
// found instead of the toolkit's header by tests that compile .cu files as C++. Blocks run one
// after the other, the threads of a block at once, so that barriers, shuffles and shared memory
// do what they do on a GPU. Not how fast, and not the GPU's rounding of logf and sqrtf.

#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(threads)

struct dim3 {
  unsigned x = 1;
  dim3() = default;
  explicit dim3(unsigned count) : x(count) {}
};
using cudaStream_t = void*;
using cudaError_t = int;
inline constexpr cudaError_t cudaSuccess = 0;
inline const char* cudaGetErrorString(cudaError_t) { return "none"; }

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_host {

inline constexpr unsigned kWarp = 32;

struct Block {
  explicit Block(unsigned threads) : all(threads), lanes(threads) {
    for (unsigned i = 0; i < threads; i += kWarp)
      warps.push_back(std::make_unique<std::barrier<>>(kWarp));
  }
  std::barrier<> all;
  std::vector<std::unique_ptr<std::barrier<>>> warps;
  std::vector<std::uint64_t> lanes;  // what a shuffle passes on
};
inline Block* block = nullptr;

template <typename... P, std::size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_const_t<P>*>(arguments[I])...);
}

}  // namespace cuda_on_host

inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline void __syncthreads() { cuda_on_host::block->all.arrive_and_wait(); }

template <typename T>
T __shfl_down_sync(unsigned, T value, int step) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  auto& block = *cuda_on_host::block;
  const unsigned thread = threadIdx.x, lane = thread % cuda_on_host::kWarp;
  std::barrier<>& warp = *block.warps[thread / cuda_on_host::kWarp];
  std::memcpy(&block.lanes[thread], &value, sizeof(T));
  warp.arrive_and_wait();
  const bool is_there = lane + static_cast<unsigned>(step) < cuda_on_host::kWarp;
  T result;
  std::memcpy(&result, &block.lanes[is_there ? thread + static_cast<unsigned>(step) : thread],
              sizeof(T));
  warp.arrive_and_wait();
  return result;
}

/// Threads must all pass, or none, what remains of a block's barriers.
template <typename... P>
cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 threads, void** arguments,
                             std::size_t, cudaStream_t) {
  cuda_on_host::Block block(threads.x);
  cuda_on_host::block = &block;
  std::barrier between(static_cast<std::ptrdiff_t>(threads.x));
  std::vector<std::jthread> running;
  for (unsigned thread = 0; thread < threads.x; ++thread) {
    running.emplace_back([&, thread] {
      threadIdx = dim3(thread);
      blockDim = threads;
      gridDim = grid;
      for (unsigned i = 0; i < grid.x; ++i) {
        blockIdx = dim3(i);
        cuda_on_host::call(kernel, arguments, std::index_sequence_for<P...>());
        between.arrive_and_wait();
      }
    });
  }
  return cudaSuccess;
}
