#include "core/optimizer/optimizer_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/base/error.h"
#include "core/optimizer/optimizer_element.h"

namespace kiln {
namespace {

inline std::uint16_t bf16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<std::uint16_t>(value != value ? 0x7fc0u : rounded);
}

struct Lanes {
  static constexpr int kCount = 8;
  double sums[kCount] = {};

  // `count` is a multiple of kCount in all calls but the last.
  void add_squares(const float* values, std::int64_t count) {
    double local[kCount];
    std::copy(sums, sums + kCount, local);
    const std::int64_t whole = count / kCount * kCount;
    for (std::int64_t i = 0; i < whole; i += kCount) {
      for (int lane = 0; lane < kCount; ++lane) {
        const double value = values[i + lane];
        local[lane] += value * value;
      }
    }
    for (std::int64_t i = whole; i < count; ++i) {
      local[i - whole] += double{values[i]} * values[i];
    }
    std::copy(local, local + kCount, sums);
  }
  double total() const {
    double sum = 0.0;
    for (const double lane : sums) sum += lane;
    return sum;
  }
};

// Everything optional is a template parameter, so that the body has no branches, and the pointers
// are restrict parameters of a function of its own: the form in which both compilers vectorise all
// variants (with restrict on local variables, those with a moving average stay scalar, 5 times
// slower).
template <typename RuleT, bool kFinishing, bool kHasCopy, bool kHasEma>
[[gnu::noinline]] void update_loop(const RuleScalars& scalars, float scale, float rate,
                                   std::int64_t count, const float* __restrict gradient,
                                   float* __restrict master, float* __restrict moment1,
                                   float* __restrict moment2, std::uint16_t* __restrict weights,
                                   float* __restrict ema) {
  const RuleScalars s = scalars;
  for (std::int64_t i = 0; i < count; ++i) {
    float m = moment1[i];
    float v = 0.0f;
    if constexpr (RuleT::kNumMoments == 2) v = moment2[i];
    const float g = gradient[i] * scale;
    const float p = updated<RuleT, kFinishing>(s, master[i], g, m, v);
    master[i] = p;
    moment1[i] = m;
    if constexpr (RuleT::kNumMoments == 2) moment2[i] = v;
    if constexpr (kHasCopy) weights[i] = bf16_bits(p);
    if constexpr (kHasEma) ema[i] += rate * (p - ema[i]);
  }
}

void move_average_loop(const float* __restrict values, float* __restrict average,
                       std::int64_t count, float rate) {
  for (std::int64_t i = 0; i < count; ++i) average[i] += rate * (values[i] - average[i]);
}

void bound_loop(const RuleScalars& scalars, float* __restrict values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = bounded(scalars, values[i]);
}

template <typename RuleT, bool kFinishing = false>
void update(const SegmentMemory& memory, const RuleScalars& scalars) {
  const auto run = [&](auto loop) {
    loop(scalars, scalars.gradient_scale, memory.ema_rate, memory.count, memory.gradient,
         memory.master, memory.moment1, memory.moment2, memory.weights, memory.ema);
  };
  if (std::isfinite(scalars.bound)) {  // rare: in passes of its own
    run(update_loop<RuleT, kFinishing, false, false>);
    bound_loop(scalars, memory.master, memory.count);
    if (memory.weights) round_to_bf16(memory.master, memory.weights, memory.count);
    if (memory.ema) move_average_loop(memory.master, memory.ema, memory.count, memory.ema_rate);
  } else if (memory.weights) {
    memory.ema ? run(update_loop<RuleT, kFinishing, true, true>)
               : run(update_loop<RuleT, kFinishing, true, false>);
  } else {
    memory.ema ? run(update_loop<RuleT, kFinishing, false, true>)
               : run(update_loop<RuleT, kFinishing, false, false>);
  }
}

template <typename RuleT>
SquaredNorms prepare(const SegmentMemory& memory, const RuleScalars& scalars) {
  constexpr std::int64_t kChunk = 512;
  const RuleScalars s = scalars;
  const float scale = s.gradient_scale;
  alignas(64) float directions[kChunk];
  Lanes parameter, direction;
  for (std::int64_t begin = 0; begin < memory.count; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, memory.count - begin);
    const float* __restrict master = memory.master + begin;
    const float* __restrict gradient = memory.gradient + begin;
    float* __restrict moment1 = memory.moment1 + begin;
    float* __restrict moment2 =
        RuleT::kNumMoments == 2 ? memory.moment2 + begin : memory.moment1 + begin;
    for (std::int64_t i = 0; i < count; ++i) {
      const float g = gradient[i] * scale;
      if constexpr (RuleT::kNumMoments == 2) {
        float m = moment1[i], v = moment2[i];
        directions[i] = RuleT::direction(s, master[i], g, m, v);
        moment1[i] = m;
        moment2[i] = v;
      } else {
        float unused = 0.0f;
        directions[i] = RuleT::direction(s, master[i], g, unused, unused);
      }
    }
    parameter.add_squares(master, count);
    direction.add_squares(directions, count);
  }
  return {parameter.total(), direction.total()};
}

}  // namespace

void update_segment(Rule rule, const SegmentMemory& memory, const RuleScalars& scalars) {
  switch (rule) {
    case Rule::kAdamW:
      return update<AdamWRule>(memory, scalars);
    case Rule::kAdam:
      return update<AdamRule>(memory, scalars);
    case Rule::kAdamax:
      return update<AdamaxRule>(memory, scalars);
    case Rule::kRmsprop:
      return update<RmspropRule>(memory, scalars);
    case Rule::kUncorrectedAdam:
      return update<UncorrectedAdamRule>(memory, scalars);
    case Rule::kSgd:
      return update<LarsRule>(memory, scalars);
    case Rule::kLamb:
    case Rule::kLars:
    case Rule::kLarc:
      break;
  }
  KILN_CHECK(false, "a rule with trust ratio takes two passes");
}

SquaredNorms prepare_segment(Rule rule, const SegmentMemory& memory, const RuleScalars& scalars) {
  KILN_CHECK(has_trust_ratio(rule), "a rule without trust ratio");
  if (rule == Rule::kLamb) return prepare<LambRule>(memory, scalars);
  return rule == Rule::kLars ? prepare<LarsRule>(memory, scalars)
                             : prepare<LarcRule>(memory, scalars);
}

void finish_segment(Rule rule, const SegmentMemory& memory, const RuleScalars& scalars) {
  KILN_CHECK(has_trust_ratio(rule), "a rule without trust ratio");
  if (rule == Rule::kLamb) return update<LambRule, true>(memory, scalars);
  rule == Rule::kLars ? update<LarsRule, true>(memory, scalars)
                      : update<LarcRule, true>(memory, scalars);
}

double squared_sum(const float* values, std::int64_t count) {
  Lanes lanes;
  lanes.add_squares(values, count);
  return lanes.total();
}

void move_average(const float* values, float* average, std::uint16_t* copy, std::int64_t count,
                  float rate) {
  move_average_loop(values, average, count, rate);
  if (copy) round_to_bf16(average, copy, count);
}

void round_to_bf16(const float* from, std::uint16_t* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = bf16_bits(from[i]);
}

}  // namespace kiln
