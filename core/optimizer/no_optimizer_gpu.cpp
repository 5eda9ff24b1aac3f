#include "core/base/error.h"
#include "core/optimizer/optimizer_gpu.h"

// Stands in for optimizer_gpu.cpp in builds without CUDA.

namespace kiln {

bool has_gpu_kernels_for(const Slice&) { return false; }

void add_squares_on_gpu(const Slice&, const at::Tensor&, BlockSums&) {
  KILN_CHECK(false, "a build without CUDA");
}
void prepare_on_gpu(std::span<const Slice>, std::span<const at::Tensor>, const TensorUpdate&,
                    BlockSums&) {
  KILN_CHECK(false, "a build without CUDA");
}
void step_on_gpu(std::span<const Slice>, std::span<const at::Tensor>, const TensorUpdate&) {
  KILN_CHECK(false, "a build without CUDA");
}

}  // namespace kiln
