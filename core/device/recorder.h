#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace kiln {

/// Records work on a device once and carries it out again and again without the host's part in it:
/// a CUDA graph.
///
/// A replay reads and writes the tensors of the recording where they lay then, so whatever is to
/// change between two replays must be written into them. Host values of the recording stay as they
/// were. What recorded work allocates belongs to the recorder, for as long as that lives.
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
