#include "models/kernels/device/device_timing.h"

#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>

#include <algorithm>
#include <array>

namespace kiln {

double device_seconds(const std::function<void()>& work) {
  work();
  std::array<float, 5> times_ms{};
  for (float& time_ms : times_ms) {
    c10::cuda::CUDAEvent start(cudaEventDefault), end(cudaEventDefault);
    start.record();
    work();
    end.record();
    end.synchronize();
    time_ms = start.elapsed_time(end);
  }
  std::ranges::sort(times_ms);
  return times_ms[times_ms.size() / 2] * 1e-3;
}

bool is_capturing() {
  return c10::cuda::currentStreamCaptureStatusMayInitCtx() != c10::cuda::CaptureStatus::None;
}

}  // namespace kiln
