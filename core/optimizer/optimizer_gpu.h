#pragma once

#include "core/optimizer/optimizer_tensors.h"

// The optimizer on a GPU by kernels, one launch a slice where core/optimizer/optimizer_tensors.h
// takes ten for every tensor. Same results up to the order of sums. Nothing here waits for the GPU,
// except when a slice is seen for the first time. A build without CUDA has no_optimizer_gpu.cpp.

namespace kiln {

/// Whether this build has kernels for the device the slice lies on.
bool has_gpu_kernels_for(const Slice& slice);

void add_squares_on_gpu(const Slice& slice, const at::Tensor& gradient, BlockSums& sums);
void prepare_on_gpu(std::span<const Slice> slices, std::span<const at::Tensor> gradients,
                    const TensorUpdate& update, BlockSums& sums);
void step_on_gpu(std::span<const Slice> slices, std::span<const at::Tensor> gradients,
                 const TensorUpdate& update);

}  // namespace kiln
