#include "launch/run/device.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/report/log.h"
#include "core/torch.h"

namespace kiln {

namespace {

struct StatedPeak {
  const char* name;  // part of the driver's name for the device
  double bf16, fp32;
};
constexpr StatedPeak kStatedPeaks[] = {
    {"B200", 2250e12, 75e12},    {"H200", 989.4e12, 66.9e12}, {"H100 PCIe", 756e12, 51.2e12},
    {"H100 NVL", 835e12, 60e12}, {"H100", 989.4e12, 66.9e12}, {"L40S", 362e12, 91.6e12},
    {"A100", 312e12, 19.5e12},   {"A40", 149.7e12, 37.4e12},
};

/// As the driver calls the GPUs of this node; they are taken to be of one kind.
std::string gpu_name() {
  std::error_code none;
  for (const auto& gpu : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", none)) {
    std::ifstream file(gpu.path() / "information");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("Model:")) return line;
    }
  }
  return "";
}

}  // namespace

double peak_flops(at::Device device, const std::string& precision) {
  if (!device.is_cuda()) return 0.0;
  const std::string name = gpu_name();
  for (const StatedPeak& peak : kStatedPeaks) {
    if (name.find(peak.name) != std::string::npos) {
      return precision == "bf16" ? peak.bf16 : peak.fp32;
    }
  }
  return 0.0;
}

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
