#include "core/device_launch.cuh"
#include "core/optimizer_device.h"
#include "core/optimizer_element.h"

namespace kiln {
namespace {

constexpr int kThreads = 256;

// Nearest, ties to even; every NaN becomes 0x7fc0: as on the host.
__device__ std::uint16_t to_bf16(float value) {
  const unsigned bits = __float_as_uint(value);
  const unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<std::uint16_t>(value != value ? 0x7fc0u : rounded);
}

__device__ float scale_of(const DeviceSlice& slice) {
  return slice.scale_on_device ? *slice.scale_on_device : slice.gradient_scale;
}

template <typename RuleT, bool kIsFinishing>
__global__ void __launch_bounds__(kThreads)
    update_kernel(const DeviceSlice slice, const RuleScalars* scalars) {
  const DeviceSegment segment = slice.segments[blockIdx.x];
  const RuleScalars s = scalars[segment.entry];
  const float scale = scale_of(slice);
  for (int i = static_cast<int>(threadIdx.x); i < segment.count; i += kThreads) {
    const std::int64_t at = segment.offset + i;
    float m = slice.moment1[at];
    float v = 0.0f;
    if constexpr (RuleT::kNumMoments == 2) v = slice.moment2[at];
    const float p =
        updated<RuleT, kIsFinishing>(s, slice.master[at], slice.gradient[at] * scale, m, v);
    slice.master[at] = p;
    slice.moment1[at] = m;
    if constexpr (RuleT::kNumMoments == 2) slice.moment2[at] = v;
    if (slice.weights) slice.weights[at] = to_bf16(p);
    if (slice.ema) slice.ema[at] += slice.ema_rate * (p - slice.ema[at]);
  }
}

template <typename RuleT>
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const DeviceSlice slice, const RuleScalars* scalars, double* parameter,
                   double* direction) {
  const DeviceSegment segment = slice.segments[blockIdx.x];
  const RuleScalars s = scalars[segment.entry];
  const float scale = scale_of(slice);
  double squares_p = 0.0, squares_u = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < segment.count; i += kThreads) {
    const std::int64_t at = segment.offset + i;
    const float p = slice.master[at], g = slice.gradient[at] * scale;
    float m = 0.0f, v = 0.0f;
    if constexpr (RuleT::kNumMoments == 2) {
      m = slice.moment1[at];
      v = slice.moment2[at];
    }
    const float u = RuleT::direction(s, p, g, m, v);
    if constexpr (RuleT::kNumMoments == 2) {
      slice.moment1[at] = m;
      slice.moment2[at] = v;
    }
    squares_p += double{p} * p;
    squares_u += double{u} * u;
  }
  const double total_p = block_sum(squares_p);
  const double total_u = block_sum(squares_u);
  if (threadIdx.x == 0) {
    parameter[segment.sum] = total_p;
    direction[segment.sum] = total_u;
  }
}

__global__ void __launch_bounds__(kThreads) squares_kernel(const DeviceSlice slice, double* sums) {
  const DeviceSegment segment = slice.segments[blockIdx.x];
  double squares = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < segment.count; i += kThreads) {
    const double g = slice.gradient[segment.offset + i];
    squares += g * g;
  }
  const double total = block_sum(squares);
  if (threadIdx.x == 0) sums[segment.sum] = total;
}

template <typename RuleT, bool kIsFinishing>
void launch_update(const DeviceSlice& slice, const RuleScalars* scalars, void* stream) {
  launch("update", update_kernel<RuleT, kIsFinishing>, slice.num_segments, kThreads, stream, slice,
         scalars);
}

}  // namespace

void update_on_device(Rule rule, bool is_finishing, const DeviceSlice& slice,
                      const RuleScalars* scalars, void* stream) {
  switch (rule) {
    case Rule::kAdamW:
      return launch_update<AdamWRule, false>(slice, scalars, stream);
    case Rule::kBertAdam:
      return launch_update<BertAdamRule, false>(slice, scalars, stream);
    case Rule::kSgd:
      return launch_update<LarsRule, false>(slice, scalars, stream);
    case Rule::kLamb:
      return is_finishing ? launch_update<LambRule, true>(slice, scalars, stream)
                          : launch_update<LambRule, false>(slice, scalars, stream);
    case Rule::kLars:
      return is_finishing ? launch_update<LarsRule, true>(slice, scalars, stream)
                          : launch_update<LarsRule, false>(slice, scalars, stream);
  }
}

void prepare_on_device(Rule rule, const DeviceSlice& slice, const RuleScalars* scalars,
                       double* parameter, double* direction, void* stream) {
  launch("prepare", rule == Rule::kLamb ? prepare_kernel<LambRule> : prepare_kernel<LarsRule>,
         slice.num_segments, kThreads, stream, slice, scalars, parameter, direction);
}

void squares_on_device(const DeviceSlice& slice, double* sums, void* stream) {
  launch("squares", squares_kernel, slice.num_segments, kThreads, stream, slice, sums);
}

}  // namespace kiln
