#include "core/base/error.h"
#include "models/kernels/device/device_timing.h"

// Stands in for device_timing.cpp in builds without CUDA.

namespace kiln {

bool is_capturing() { return false; }

double device_seconds(const std::function<void()>&) {
  KILN_CHECK(false, "a build without CUDA");
  return 0.0;
}

}  // namespace kiln
