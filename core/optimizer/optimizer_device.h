#pragma once

#include <cstdint>

#include "core/optimizer/optimizer_kernels.h"

// The optimizer's loops as CUDA kernels: all segments of a slice in one launch. Device pointers;
// streams as void*, so that no header of CUDA is needed. Element for element the bits of the host's
// loops (multiplications and additions are not contracted); sums of squares are added in an order
// of their own, which depends on the segment alone.

namespace kiln {

/// What one tensor has in one block of flat memory.
struct DeviceSegment {
  std::int64_t offset = 0;  // from the start of the slice
  std::int64_t sum = 0;     // where its partial sums go
  std::int32_t count = 0;   // elements, at most FlatParameters::kBlock
  std::int32_t entry = 0;   // which of the scalars
};

/// One slice; null as in SegmentMemory.
struct DeviceSlice {
  const DeviceSegment* segments = nullptr;
  std::int64_t num_segments = 0;
  float* master = nullptr;
  const float* gradient = nullptr;
  float* moment1 = nullptr;
  float* moment2 = nullptr;
  std::uint16_t* weights = nullptr;
  float* ema = nullptr;
  float ema_rate = 0.0f;
};

/// Rules without trust ratio, or (is_finishing) the second pass of those with one. `scalars`: one
/// per entry.
void update_on_device(Rule rule, bool is_finishing, const DeviceSlice& slice,
                      const RuleScalars* scalars, void* stream);
/// First pass of rules with trust ratio: parameter[sum] and direction[sum] of every segment.
void prepare_on_device(Rule rule, const DeviceSlice& slice, const RuleScalars* scalars,
                       double* parameter, double* direction, void* stream);
/// sums[sum] = sum of squares of the gradient in every segment.
void squares_on_device(const DeviceSlice& slice, double* sums, void* stream);

}  // namespace kiln
