#include "core/device/device_copies.h"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>

#include <cstring>

#include "core/torch.h"

namespace kiln {
namespace {

c10::Stream current_stream(at::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

std::shared_ptr<c10::Event> event_after(const c10::Stream& stream) {
  auto event = std::make_shared<c10::Event>(stream.device_type());
  event->record(stream);
  return event;
}

// This thread copies alone, so that reader threads do not each start compute threads.
at::Tensor pinned(const at::Tensor& tensor) {
  const at::Tensor from = tensor.contiguous();
  const at::Tensor to = at::empty(from.sizes(), from.options().pinned_memory(true));
  if (from.nbytes() > 0) std::memcpy(to.data_ptr(), from.const_data_ptr(), from.nbytes());
  return to;
}

}  // namespace

void pin(Batch& batch) {
  for (auto& [name, tensor] : batch.tensors) tensor = pinned(tensor);
}

void BatchArrivals::begin(std::vector<Batch>& batches) {
  if (device_.is_cpu()) return;
  if (!stream_) {
    const c10::impl::VirtualGuardImpl device(device_.type());
    stream_ = device.getStreamFromGlobalPool(device_, /*isHighPriority=*/false);
  }
  const c10::StreamGuard guard(*stream_);
  for (Batch& batch : batches) {
    for (auto& [name, tensor] : batch.tensors) {
      tensor = tensor.to(device_, tensor.scalar_type(), /*non_blocking=*/true);
    }
  }
  done_ = event_after(*stream_);
}

void BatchArrivals::finish(const std::vector<Batch>& batches) {
  if (!done_) return;
  const c10::Stream stream = current_stream(device_);
  done_->block(stream);
  // Memory belongs to the stream that it was allocated on. That stream would reuse it as soon as
  // the batch is dropped, even while the current stream still reads it.
  for (const Batch& batch : batches) {
    for (const auto& [name, tensor] : batch.tensors) tensor.record_stream(stream);
  }
}

HostCopy::HostCopy(const at::Tensor& tensor) : tensor_(tensor) {
  if (tensor.is_cpu()) return;
  tensor_ = at::empty(tensor.sizes(), tensor.options().device(at::kCPU).pinned_memory(true));
  tensor_.copy_(tensor, /*non_blocking=*/true);
  done_ = event_after(current_stream(tensor.device()));
}

const at::Tensor& HostCopy::get() const {
  if (done_) done_->synchronize();
  return tensor_;
}

}  // namespace kiln
