#include "launch/run/device.h"

#include <cstdlib>

#include "core/base/error.h"
#include "core/report/log.h"
#include "core/torch.h"

namespace kiln {

at::Device choose_device(const std::string& name, World& world) {
  const auto num_gpus = static_cast<int>(torch::cuda::device_count());
  if (name == "cpu" || (name == "auto" && num_gpus == 0)) return at::kCPU;
  if (num_gpus == 0) {
    throw usage_error(
        "run.device = \"cuda\" but this program sees no GPU: no driver, none visible "
        "(CUDA_VISIBLE_DEVICES), or a build without CUDA");
  }
  // NCCL lets ranks share a GPU only if they claim to be on different hosts.
  if (world.ranks_on_node() > num_gpus && std::getenv("NCCL_HOSTID") == nullptr) {
    throw usage_error(
        "{} ranks on a node with {} GPUs: start one rank per GPU, or set run.device=cpu. To try "
        "several ranks on one GPU, give each its own NCCL_HOSTID (docs/gpu.md)",
        world.ranks_on_node(), num_gpus);
  }
  // LibTorch's default for convolutions is TF32, with 10 bits of mantissa; fp32 means fp32.
  at::globalContext().setAllowTF32CuDNN(false);
  return {at::kCUDA, static_cast<at::DeviceIndex>(world.rank_on_node() % num_gpus)};
}

at::Device device_of_run(const RunOptions& run, World& world) {
  const at::Device device = choose_device(run.device, world);
  if (!device.is_cuda()) return device;
  if (!run.reproducible) {
    at::globalContext().setBenchmarkCuDNN(true);  // each convolution by what is quickest for it
    return device;
  }
  // Read when cuBLAS is used for the first time; LibTorch insists on it.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // a check, and slow
  return device;
}

}  // namespace kiln
