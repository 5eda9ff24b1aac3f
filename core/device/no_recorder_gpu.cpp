#include "core/base/error.h"
#include "core/device/recorder.h"

// Stands in for recorder_gpu.cpp in builds without CUDA.

namespace kiln {

std::unique_ptr<Recorder> make_gpu_recorder(c10::Device) {
  KILN_CHECK(false, "a build without CUDA");
  return nullptr;
}

}  // namespace kiln
