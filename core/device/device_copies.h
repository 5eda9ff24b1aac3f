#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <memory>
#include <optional>
#include <vector>

#include "core/types.h"

// All that a step moves between host and device. A GPU copies from and to pinned host memory, and
// no thread waits. LibTorch keeps pinned memory and reuses it only after its copies are done. On
// the CPU nothing is copied or pinned.

namespace c10 {
struct Event;
}

namespace kiln {

/// Moves a host batch to pinned memory; called on the threads that read it.
void pin(Batch& batch);

/// Brings batches to a device while it still computes on those before: on a GPU by a stream of
/// their own.
///
///   arrivals.begin(batches);     // while the step before is at work
///   arrivals.finish(batches);    // whatever the current stream is given now finds them there
///
/// Thread safety: one thread.
class BatchArrivals {
 public:
  explicit BatchArrivals(at::Device device) : device_(device) {}
  void begin(std::vector<Batch>& batches);
  void finish(const std::vector<Batch>& batches);

 private:
  at::Device device_;
  std::optional<c10::Stream> stream_;  // none on the CPU
  std::shared_ptr<c10::Event> done_;   // likewise
};

/// A tensor on its way to the host, by the current stream, after all that has been given so far.
class HostCopy {
 public:
  HostCopy() = default;
  explicit HostCopy(const at::Tensor& tensor);
  /// Waits for the copy and returns it. A tensor that is on the host already is returned itself.
  const at::Tensor& get() const;

 private:
  at::Tensor tensor_;
  std::shared_ptr<c10::Event> done_;  // null on the CPU
};

}  // namespace kiln
