#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace kiln {

/// Records work on a device once and repeats it without work of the host: a CUDA graph.
///
/// A replay reads and writes the memory that the tensors had while recording, so new values must be
/// written into those tensors. Host values stay as they were while recording. The recorder owns the
/// memory that the recorded work allocates.
///
/// Thread safety: one thread.
class Recorder {
 public:
  virtual ~Recorder() = default;
  /// Carries `work` out where record() will find what its first calls set up: handles, workspaces,
  /// choices of algorithms.
  virtual void rehearse(const std::function<void()>& work) = 0;
  /// Once. Does not carry `work` out, which must not wait for the device.
  virtual void record(std::function<void()> work) = 0;
  /// Carries it out after all that the current stream has been given so far.
  virtual void replay() = 0;
};

/// Empty: nothing is recorded.
using MakeRecorder = std::function<std::unique_ptr<Recorder>()>;

/// On a GPU. record() throws Error(kUsage) where the work cannot be recorded. A build without CUDA
/// has no_recorder_gpu.cpp.
std::unique_ptr<Recorder> make_gpu_recorder(c10::Device device);

}  // namespace kiln
