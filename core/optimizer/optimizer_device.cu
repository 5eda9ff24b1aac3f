#include "core/device/device_launch.cuh"
#include "core/device/device_pack.cuh"
#include "core/optimizer/optimizer_device.h"
#include "core/optimizer/optimizer_element.h"

namespace kiln {
namespace {

constexpr int kThreads = 256;
constexpr int kParts = 4;     // blocks that share an update's segment
constexpr int kInFlight = 2;  // a thread loads so many fours before it uses the first
using Floats = Pack<float, 4>;
using Halves = Pack<std::uint16_t, 4>;

// Nearest, ties to even; every NaN becomes 0x7fc0: as on the host.
__device__ std::uint16_t to_bf16(float value) {
  const unsigned bits = __float_as_uint(value);
  const unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<std::uint16_t>(value != value ? 0x7fc0u : rounded);
}

/// A segment: `head` elements, then fours at addresses where they can be loaded whole, then fewer
/// than four. Without such addresses all is head.
struct Cut {
  int head, fours;

  __device__ Cut(const DeviceSlice& slice, const DeviceSegment& segment) {
    const bool has_fours = is_aligned(slice.master, 16) && is_aligned(slice.gradient, 16) &&
                           is_aligned(slice.moment1, 16) && is_aligned(slice.moment2, 16) &&
                           is_aligned(slice.weights, 8) && is_aligned(slice.ema, 16);
    const int before = static_cast<int>(-segment.offset & 3);
    head = has_fours && before < segment.count ? before : segment.count;
    fours = (segment.count - head) / 4;
  }
};

/// Calls single(i) for the elements that are in no four, and for the others load(four, slot), then
/// use(four, slot) with the first element of a four, slot < kInFlight, by `threads` threads of
/// which this one is number `thread`.
template <typename Single, typename Load, typename Use>
__device__ void over_segment(const DeviceSegment& segment, const Cut& cut, int thread, int threads,
                             const Single& single, const Load& load, const Use& use) {
  for (int i = thread; i < cut.head; i += threads) single(segment.offset + i);
  for (int four = thread; four < cut.fours; four += kInFlight * threads) {
#pragma unroll
    for (int slot = 0; slot < kInFlight; ++slot) {
      const int i = four + slot * threads;
      if (i < cut.fours) load(segment.offset + cut.head + 4 * i, slot);
    }
#pragma unroll
    for (int slot = 0; slot < kInFlight; ++slot) {
      const int i = four + slot * threads;
      if (i < cut.fours) use(segment.offset + cut.head + 4 * i, slot);
    }
  }
  const int tail = cut.head + 4 * cut.fours + thread;
  if (tail < segment.count) single(segment.offset + tail);
}

/// What an update reads of four elements.
struct Elements {
  Floats p, g, m, v, ema;
};

template <typename RuleT, bool kIsFinishing>
__global__ void __launch_bounds__(kThreads)
    update_kernel(const DeviceSlice slice, const RuleScalars* scalars) {
  constexpr bool kHasSecond = RuleT::kNumMoments == 2;
  const DeviceSegment segment = slice.segments[blockIdx.x / kParts];
  const RuleScalars s = scalars[segment.entry];
  if (s.is_frozen) return;
  const float scale = s.gradient_scale;
  Elements slots[kInFlight] = {};
  over_segment(
      segment, Cut(slice, segment), static_cast<int>(blockIdx.x % kParts * kThreads + threadIdx.x),
      kParts * kThreads,
      [&](std::int64_t at) {
        float m = slice.moment1[at];
        float v = 0.0f;
        if constexpr (kHasSecond) v = slice.moment2[at];
        const float p = bounded(
            s, updated<RuleT, kIsFinishing>(s, slice.master[at], slice.gradient[at] * scale, m, v));
        slice.master[at] = p;
        slice.moment1[at] = m;
        if constexpr (kHasSecond) slice.moment2[at] = v;
        if (slice.weights) slice.weights[at] = to_bf16(p);
        if (slice.ema) slice.ema[at] += slice.ema_rate * (p - slice.ema[at]);
      },
      [&](std::int64_t at, int slot) {
        Elements& e = slots[slot];
        e.p = load_pack<float, 4>(slice.master + at);
        e.g = load_pack<float, 4>(slice.gradient + at);
        e.m = load_pack<float, 4>(slice.moment1 + at);
        if constexpr (kHasSecond) e.v = load_pack<float, 4>(slice.moment2 + at);
        if (slice.ema) e.ema = load_pack<float, 4>(slice.ema + at);
      },
      [&](std::int64_t at, int slot) {
        Elements& e = slots[slot];
        Halves weights;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float p = bounded(s, updated<RuleT, kIsFinishing>(s, e.p.at[k], e.g.at[k] * scale,
                                                                  e.m.at[k], e.v.at[k]));
          e.p.at[k] = p;
          weights.at[k] = to_bf16(p);
          e.ema.at[k] += slice.ema_rate * (p - e.ema.at[k]);
        }
        store_pack(slice.master + at, e.p);
        store_pack(slice.moment1 + at, e.m);
        if constexpr (kHasSecond) store_pack(slice.moment2 + at, e.v);
        if (slice.weights) store_pack(slice.weights + at, weights);
        if (slice.ema) store_pack(slice.ema + at, e.ema);
      });
}

template <typename RuleT>
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const DeviceSlice slice, const RuleScalars* scalars, double* parameter,
                   double* direction) {
  constexpr bool kHasSecond = RuleT::kNumMoments == 2;
  const DeviceSegment segment = slice.segments[blockIdx.x];
  const RuleScalars s = scalars[segment.entry];
  if (s.is_frozen) return;
  const float scale = s.gradient_scale;
  double squares_p = 0.0, squares_u = 0.0;
  const auto add = [&](float p, float g, float& m, float& v) {
    const float u = RuleT::direction(s, p, g * scale, m, v);
    squares_p += double{p} * p;
    squares_u += double{u} * u;
  };
  Elements slots[kInFlight] = {};
  over_segment(
      segment, Cut(slice, segment), static_cast<int>(threadIdx.x), kThreads,
      [&](std::int64_t at) {
        float m = 0.0f, v = 0.0f;
        if constexpr (kHasSecond) {
          m = slice.moment1[at];
          v = slice.moment2[at];
        }
        add(slice.master[at], slice.gradient[at], m, v);
        if constexpr (kHasSecond) {
          slice.moment1[at] = m;
          slice.moment2[at] = v;
        }
      },
      [&](std::int64_t at, int slot) {
        Elements& e = slots[slot];
        e.p = load_pack<float, 4>(slice.master + at);
        e.g = load_pack<float, 4>(slice.gradient + at);
        if constexpr (kHasSecond) {
          e.m = load_pack<float, 4>(slice.moment1 + at);
          e.v = load_pack<float, 4>(slice.moment2 + at);
        }
      },
      [&](std::int64_t at, int slot) {
        Elements& e = slots[slot];
#pragma unroll
        for (int k = 0; k < 4; ++k) add(e.p.at[k], e.g.at[k], e.m.at[k], e.v.at[k]);
        if constexpr (kHasSecond) {
          store_pack(slice.moment1 + at, e.m);
          store_pack(slice.moment2 + at, e.v);
        }
      });
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
  const auto add = [&](double g) { squares += g * g; };
  Floats slots[kInFlight] = {};
  over_segment(
      segment, Cut(slice, segment), static_cast<int>(threadIdx.x), kThreads,
      [&](std::int64_t at) { add(slice.gradient[at]); },
      [&](std::int64_t at, int slot) { slots[slot] = load_pack<float, 4>(slice.gradient + at); },
      [&](std::int64_t, int slot) {
#pragma unroll
        for (int k = 0; k < 4; ++k) add(slots[slot].at[k]);
      });
  const double total = block_sum(squares);
  if (threadIdx.x == 0) sums[segment.sum] = total;
}

template <typename RuleT, bool kIsFinishing>
void launch_update(const DeviceSlice& slice, const RuleScalars* scalars, void* stream) {
  launch("update", update_kernel<RuleT, kIsFinishing>, slice.num_segments * kParts, kThreads,
         stream, slice, scalars);
}

}  // namespace

void update_on_device(Rule rule, bool is_finishing, const DeviceSlice& slice,
                      const RuleScalars* scalars, void* stream) {
  switch (rule) {
    case Rule::kAdamW:
      return launch_update<AdamWRule, false>(slice, scalars, stream);
    case Rule::kAdam:
      return launch_update<AdamRule, false>(slice, scalars, stream);
    case Rule::kAdamax:
      return launch_update<AdamaxRule, false>(slice, scalars, stream);
    case Rule::kRmsprop:
      return launch_update<RmspropRule, false>(slice, scalars, stream);
    case Rule::kUncorrectedAdam:
      return launch_update<UncorrectedAdamRule, false>(slice, scalars, stream);
    case Rule::kSgd:
      return launch_update<LarsRule, false>(slice, scalars, stream);
    case Rule::kLamb:
      return is_finishing ? launch_update<LambRule, true>(slice, scalars, stream)
                          : launch_update<LambRule, false>(slice, scalars, stream);
    case Rule::kLars:
      return is_finishing ? launch_update<LarsRule, true>(slice, scalars, stream)
                          : launch_update<LarsRule, false>(slice, scalars, stream);
    case Rule::kLarc:
      return is_finishing ? launch_update<LarcRule, true>(slice, scalars, stream)
                          : launch_update<LarcRule, false>(slice, scalars, stream);
  }
}

void prepare_on_device(Rule rule, const DeviceSlice& slice, const RuleScalars* scalars,
                       double* parameter, double* direction, void* stream) {
  const auto kernel = rule == Rule::kLamb   ? prepare_kernel<LambRule>
                      : rule == Rule::kLars ? prepare_kernel<LarsRule>
                                            : prepare_kernel<LarcRule>;
  launch("prepare", kernel, slice.num_segments, kThreads, stream, slice, scalars, parameter,
         direction);
}

void squares_on_device(const DeviceSlice& slice, double* sums, void* stream) {
  launch("squares", squares_kernel, slice.num_segments, kThreads, stream, slice, sums);
}

}  // namespace kiln
