#include "core/optimizer_gpu.h"

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/torch.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "core/error.h"
#include "core/optimizer_device.h"

namespace kiln {
namespace {

/// The segments of a slice, on its device. They stay the same from step to step.
struct SegmentTable {
  std::vector<DeviceSegment> segments;
  at::Tensor on_device;  // bytes
  std::size_t num_entries = 0;
};

at::Tensor to_device(const void* data, std::size_t num_bytes, at::Device device) {
  const at::Tensor host =
      at::from_blob(const_cast<void*>(data), {static_cast<std::int64_t>(num_bytes)}, at::kByte);
  return host.to(device);  // a copy, done when it returns
}

std::vector<DeviceSegment> segments_of(const Slice& slice) {
  std::vector<DeviceSegment> segments;
  segments.reserve(slice.segments.size());
  for (const auto& segment : slice.segments) {
    segments.push_back({.offset = segment.range.begin - slice.range.begin,
                        .sum = segment.sum,
                        .count = static_cast<std::int32_t>(segment.range.size()),
                        .entry = static_cast<std::int32_t>(segment.entry)});
  }
  return segments;
}

bool are_equal(const std::vector<DeviceSegment>& a, const std::vector<DeviceSegment>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.offset == y.offset && x.sum == y.sum && x.count == y.count && x.entry == y.entry;
  });
}

// By the place of the slice's memory; compared, since memory may have been given to another model.
const SegmentTable& table_of(const Slice& slice) {
  static std::mutex mutex;
  static auto* tables = new std::map<const void*, SegmentTable>;  // outlives the device's library
  const std::lock_guard lock(mutex);
  SegmentTable& table = (*tables)[slice.master.data_ptr()];
  std::vector<DeviceSegment> segments = segments_of(slice);
  if (table.on_device.defined() && are_equal(table.segments, segments)) return table;
  table.segments = std::move(segments);
  table.on_device = to_device(table.segments.data(), table.segments.size() * sizeof(DeviceSegment),
                              slice.master.device());
  table.num_entries = 0;
  for (const DeviceSegment& segment : table.segments) {
    table.num_entries = std::max(table.num_entries, static_cast<std::size_t>(segment.entry) + 1);
  }
  return table;
}

/// Of every entry that the slice has a part of; the others are never looked at.
at::Tensor scalars_on_device(const SegmentTable& table, const ScalarsOfEntry& scalars,
                             at::Device device) {
  std::vector<RuleScalars> all(table.num_entries);
  std::int32_t last = -1;
  for (const DeviceSegment& segment : table.segments) {
    if (segment.entry == last) continue;
    last = segment.entry;
    all[static_cast<std::size_t>(last)] = scalars(static_cast<std::size_t>(last));
  }
  return to_device(all.data(), all.size() * sizeof(RuleScalars), device);
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

/// A row of sums for the slice's segments alone, and the way back to the host's row.
class DeviceSums {
 public:
  DeviceSums(const SegmentTable& table, std::int64_t rows, at::Device device) : table_(table) {
    for (const DeviceSegment& segment : table.segments) {
      length_ = std::max(length_, segment.sum + 1);
    }
    sums_ = at::zeros({rows, length_}, at::TensorOptions(device).dtype(at::kDouble));
  }
  double* row(std::int64_t index) { return sums_.data_ptr<double>() + index * length_; }
  void store(BlockSums& to) const {
    const at::Tensor host = sums_.cpu();
    for (std::int64_t row = 0; row < host.size(0); ++row) {
      const double* from = host.data_ptr<double>() + row * length_;
      for (const DeviceSegment& segment : table_.segments) {
        to.row(row)[segment.sum] = from[segment.sum];
      }
    }
  }

 private:
  const SegmentTable& table_;
  std::int64_t length_ = 0;
  at::Tensor sums_;
};

void* current_stream(const Slice& slice) {
  return c10::cuda::getCurrentCUDAStream(slice.master.device().index()).stream();
}

}  // namespace

bool has_gpu_kernels_for(const Slice& slice) { return slice.master.is_cuda(); }

void add_squares_on_gpu(const Slice& slice, const at::Tensor& gradient, BlockSums& sums) {
  if (slice.segments.empty()) return;
  const c10::cuda::CUDAGuard device(slice.master.device());
  const SegmentTable& table = table_of(slice);
  DeviceSums found(table, 1, slice.master.device());
  squares_on_device(pointers_of(slice, gradient, table), found.row(0), current_stream(slice));
  found.store(sums);
}

void prepare_on_gpu(const Slice& slice, const at::Tensor& gradient, const TensorUpdate& update,
                    BlockSums& sums) {
  if (slice.segments.empty()) return;
  const c10::cuda::CUDAGuard device(slice.master.device());
  const SegmentTable& table = table_of(slice);
  DeviceSlice pointers = pointers_of(slice, gradient, table);
  pointers.gradient_scale = static_cast<float>(update.gradient_scale);
  const at::Tensor scalars = scalars_on_device(table, update.scalars, slice.master.device());
  DeviceSums found(table, 2, slice.master.device());
  prepare_on_device(update.rule, pointers, static_cast<const RuleScalars*>(scalars.data_ptr()),
                    found.row(0), found.row(1), current_stream(slice));
  found.store(sums);
}

void step_on_gpu(const Slice& slice, const at::Tensor& gradient, const TensorUpdate& update) {
  if (slice.segments.empty()) return;
  const c10::cuda::CUDAGuard device(slice.master.device());
  const SegmentTable& table = table_of(slice);
  DeviceSlice pointers = pointers_of(slice, gradient, table);
  pointers.gradient_scale = static_cast<float>(update.gradient_scale);
  pointers.ema_rate = static_cast<float>(1.0 - update.ema_decay);
  const at::Tensor scalars = scalars_on_device(table, update.scalars, slice.master.device());
  const bool is_finishing = update.rule == Rule::kLamb || update.rule == Rule::kLars;
  update_on_device(update.rule, is_finishing, pointers,
                   static_cast<const RuleScalars*>(scalars.data_ptr()), current_stream(slice));
}

}  // namespace kiln
