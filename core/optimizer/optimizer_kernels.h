#pragma once

#include <cstdint>

#include "core/optimizer/optimizer_rules.h"

// Loops over one segment of flat memory (at most FlatParameters::kBlock elements). Plain pointers,
// so that the compiler sees nothing but the loop. Results do not depend on how segments are spread
// over threads.

namespace kiln {

enum class Rule { kAdamW, kAdam, kAdamax, kRmsprop, kUncorrectedAdam, kLamb, kLars, kLarc, kSgd };

/// Whether a rule takes two passes, with the norms of whole tensors in between.
constexpr bool has_trust_ratio(Rule rule) {
  return rule == Rule::kLamb || rule == Rule::kLars || rule == Rule::kLarc;
}

/// Memory of one segment; every non-null pointer holds `count` elements.
struct SegmentMemory {
  std::int64_t count = 0;
  float* master = nullptr;
  const float* gradient = nullptr;
  float* moment1 = nullptr;
  float* moment2 = nullptr;          // null for rules with one moment
  std::uint16_t* weights = nullptr;  // bf16 copy; null when the master weights are the weights
  float* ema = nullptr;              // null without moving average
  float ema_rate = 0.0f;             // 1 - decay
};

/// Rules without trust ratio: everything in one pass.
void update_segment(Rule rule, const SegmentMemory& memory, const RuleScalars& scalars);

struct SquaredNorms {
  double parameter = 0.0;  // |p|^2 before the update
  double direction = 0.0;  // |u|^2
};
/// Rules with trust ratio, first pass: moments (LAMB) and this segment's share of the norms.
SquaredNorms prepare_segment(Rule rule, const SegmentMemory& memory, const RuleScalars& scalars);
/// Second pass, with scalars.trust_ratio.
void finish_segment(Rule rule, const SegmentMemory& memory, const RuleScalars& scalars);

/// Sum of squares in fp64: element i goes to lane i % 8, lanes are added in order.
double squared_sum(const float* values, std::int64_t count);

/// average += rate (values - average), and its bf16 copy, where not null.
void move_average(const float* values, float* average, std::uint16_t* copy, std::int64_t count,
                  float rate);

/// Nearest, ties to even; every NaN becomes 0x7fc0.
void round_to_bf16(const float* from, std::uint16_t* to, std::int64_t count);

}  // namespace kiln
