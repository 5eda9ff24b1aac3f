#include "core/optimizer/optimizer_gpu.h"

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "core/base/error.h"
#include "core/optimizer/optimizer_device.h"
#include "core/torch.h"

namespace kiln {
namespace {

// The copy uses pinned memory, so that the host does not wait.
template <typename T>
at::Tensor to_device(std::span<const T> values, at::Device device) {
  const auto num_bytes = static_cast<std::int64_t>(values.size_bytes());
  const at::Tensor host =
      at::empty({num_bytes}, at::device(at::kCPU).dtype(at::kByte).pinned_memory(true));
  if (num_bytes > 0) std::memcpy(host.data_ptr(), values.data(), values.size_bytes());
  return host.to(device, at::kByte, /*non_blocking=*/true);
}

DeviceSegment device_segment(const Slice& slice, const FlatParameters::Segment& segment) {
  return {.offset = segment.range.begin - slice.range.begin,
          .sum = segment.sum,
          .count = static_cast<std::int32_t>(segment.range.size()),
          .entry = static_cast<std::int32_t>(segment.entry)};
}

bool are_equal(const DeviceSegment& a, const DeviceSegment& b) {
  return a.offset == b.offset && a.sum == b.sum && a.count == b.count && a.entry == b.entry;
}

/// The segments of a slice, on its device. They stay the same from step to step.
struct SegmentTable {
  std::vector<DeviceSegment> segments;
  at::Tensor on_device;  // bytes

  bool is_of(const Slice& slice) const {
    return std::equal(segments.begin(), segments.end(), slice.segments.begin(),
                      slice.segments.end(), [&](const DeviceSegment& a, const auto& b) {
                        return are_equal(a, device_segment(slice, b));
                      });
  }
};

// The key is the address of the slice's memory. The content is compared too, because another model
// may have got that memory.
const SegmentTable& table_of(const Slice& slice) {
  static std::mutex mutex;
  static auto* tables =
      new std::map<const void*, SegmentTable>;  // must not be destroyed after the device's library
  const std::lock_guard lock(mutex);
  SegmentTable& table = (*tables)[slice.master.data_ptr()];
  if (table.on_device.defined() && table.is_of(slice)) return table;
  table.segments.clear();
  for (const auto& segment : slice.segments) {
    table.segments.push_back(device_segment(slice, segment));
  }
  table.on_device =
      to_device(std::span<const DeviceSegment>(table.segments), slice.master.device());
  return table;
}

float* floats_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<float>() : nullptr;
}

DeviceSlice pointers_of(const Slice& slice, const at::Tensor& gradient, const SegmentTable& table) {
  DeviceSlice pointers;
  pointers.segments = static_cast<const DeviceSegment*>(table.on_device.data_ptr());
  pointers.num_segments = std::ssize(table.segments);
  pointers.master = floats_or_null(slice.master);
  pointers.gradient = floats_or_null(gradient);
  if (!slice.moments.empty()) pointers.moment1 = floats_or_null(slice.moments[0]);
  if (slice.moments.size() > 1) pointers.moment2 = floats_or_null(slice.moments[1]);
  if (slice.weights.scalar_type() == at::kBFloat16) {
    pointers.weights = static_cast<std::uint16_t*>(slice.weights.data_ptr());
  }
  pointers.ema = floats_or_null(slice.ema);
  return pointers;
}

void* current_stream(const Slice& slice) {
  return c10::cuda::getCurrentCUDAStream(slice.master.device().index()).stream();
}

}  // namespace

bool has_gpu_kernels_for(const Slice& slice) { return slice.master.is_cuda(); }

void add_squares_on_gpu(const Slice& slice, const at::Tensor& gradient, BlockSums& sums) {
  if (slice.segments.empty()) return;
  const c10::cuda::CUDAGuard device(slice.master.device());
  squares_on_device(pointers_of(slice, gradient, table_of(slice)), sums.row(0).data_ptr<double>(),
                    current_stream(slice));
}

void prepare_on_gpu(std::span<const Slice> slices, std::span<const at::Tensor> gradients,
                    const TensorUpdate& update, BlockSums& sums) {
  const c10::cuda::CUDAGuard device(slices[0].master.device());
  const at::Tensor scalars = to_device(update.scalars, slices[0].master.device());
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (slices[i].segments.empty()) continue;
    const DeviceSlice pointers = pointers_of(slices[i], gradients[i], table_of(slices[i]));
    prepare_on_device(update.rule, pointers, static_cast<const RuleScalars*>(scalars.data_ptr()),
                      sums.row(0).data_ptr<double>(), sums.row(1).data_ptr<double>(),
                      current_stream(slices[i]));
  }
}

void step_on_gpu(std::span<const Slice> slices, std::span<const at::Tensor> gradients,
                 const TensorUpdate& update) {
  const c10::cuda::CUDAGuard device(slices[0].master.device());
  const at::Tensor scalars = to_device(update.scalars, slices[0].master.device());
  const bool is_finishing = has_trust_ratio(update.rule);
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (slices[i].segments.empty()) continue;
    DeviceSlice pointers = pointers_of(slices[i], gradients[i], table_of(slices[i]));
    pointers.ema_rate = static_cast<float>(1.0 - update.ema_decay);
    update_on_device(update.rule, is_finishing, pointers,
                     static_cast<const RuleScalars*>(scalars.data_ptr()),
                     current_stream(slices[i]));
  }
}

}  // namespace kiln
