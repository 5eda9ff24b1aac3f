// The optimizer's CUDA kernels, carried out by threads of the host (support/cuda_on_host): element
// for element the bits of the host's loops.

#include "core/optimizer/optimizer_device.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/base/philox.h"

namespace kiln {
namespace {

constexpr std::int64_t kSize = 10'720;
// Odd sizes, a gap, two scalars, and beginnings that are no multiples of four: elements before the
// first four, in between and after the last.
const std::vector<DeviceSegment> kSegments = {
    {0, 1, 257, 0}, {257, 0, 1, 1}, {300, 2, 390, 1}, {701, 4, 10'001, 0}, {10'711, 3, 5, 1}};

std::vector<float> random(std::int64_t number) {
  std::vector<float> values(kSize + 1);
  fill_normal(Philox(5, Purpose::kNoise, number), values.data(), kSize + 1);
  return values;
}

/// `skipped` floats before the slice: what lies there is aligned for one float alone.
struct Memory {
  std::int64_t skipped = 0;
  std::vector<float> master = random(1), gradient = random(2), moment1 = random(3);
  std::vector<float> moment2 = random(4), ema = random(5);
  std::vector<std::uint16_t> weights = std::vector<std::uint16_t>(kSize + 1);
  explicit Memory(std::int64_t skip = 0) : skipped(skip) {
    for (float& v : moment2) v *= v;
  }
  bool operator==(const Memory&) const = default;

  DeviceSlice slice() {
    return {.segments = kSegments.data(),
            .num_segments = std::ssize(kSegments),
            .master = master.data() + skipped,
            .gradient = gradient.data() + skipped,
            .moment1 = moment1.data() + skipped,
            .moment2 = moment2.data() + skipped,
            .weights = weights.data() + skipped,
            .ema = ema.data() + skipped,
            .ema_rate = 0.1f};
  }
  SegmentMemory segment(const DeviceSegment& s, bool has_second) {
    return {.count = s.count,
            .master = master.data() + skipped + s.offset,
            .gradient = gradient.data() + skipped + s.offset,
            .moment1 = moment1.data() + skipped + s.offset,
            .moment2 = has_second ? moment2.data() + skipped + s.offset : nullptr,
            .weights = weights.data() + skipped + s.offset,
            .ema = ema.data() + skipped + s.offset,
            .ema_rate = 0.1f};
  }
};

std::vector<RuleScalars> scalars() {
  std::vector<RuleScalars> both(2);
  for (RuleScalars& s : both) {
    s = {.lr = 0.01f,
         .decay = 0.05f,
         .trust_ratio = 0.3f,
         .beta1 = 0.9f,
         .beta2 = 0.99f,
         .one_minus_beta1 = 0.1f,
         .one_minus_beta2 = 0.01f,
         .eps = 1e-6f,
         .shrink = 0.9995f,
         .unbias1 = 3.7f,
         .unbias_root2 = 5.1f,
         .step_size = 0.037f,
         .gradient_scale = 0.7f};
  }
  both[1].lr = 0.02f;
  both[1].decay = 0.0f;
  return both;
}

class OptimizerDevice : public testing::TestWithParam<Rule> {};

void expect_host_bits(Rule rule, std::int64_t skipped) {
  const bool has_ratio = has_trust_ratio(rule);
  const bool has_second =
      rule != Rule::kLars && rule != Rule::kLarc && rule != Rule::kSgd && rule != Rule::kRmsprop;
  Memory host(skipped), device(skipped);
  if (rule == Rule::kRmsprop) host.moment1 = device.moment1 = host.moment2;  // a mean of squares
  const auto all = scalars();
  std::vector<double> parameter(kSegments.size()), direction(kSegments.size());
  DeviceSlice slice = device.slice();
  if (!has_second) slice.moment2 = nullptr;
  if (has_ratio) {
    prepare_on_device(rule, slice, all.data(), parameter.data(), direction.data(), nullptr);
  }
  update_on_device(rule, has_ratio, slice, all.data(), nullptr);
  for (const DeviceSegment& s : kSegments) {
    const RuleScalars& own = all[static_cast<std::size_t>(s.entry)];
    const SegmentMemory memory = host.segment(s, has_second);
    if (!has_ratio) {
      update_segment(rule, memory, own);
      continue;
    }
    const SquaredNorms norms = prepare_segment(rule, memory, own);
    EXPECT_NEAR(parameter[static_cast<std::size_t>(s.sum)], norms.parameter,
                1e-12 * norms.parameter);
    EXPECT_NEAR(direction[static_cast<std::size_t>(s.sum)], norms.direction,
                1e-12 * norms.direction);
    finish_segment(rule, memory, own);
  }
  EXPECT_TRUE(device == host);
  EXPECT_FALSE(device.master == Memory().master);
}

TEST_P(OptimizerDevice, UpdatesAsTheHostDoes) { expect_host_bits(GetParam(), 0); }
TEST_P(OptimizerDevice, TakesMemoryAlignedForAFloatAlone) { expect_host_bits(GetParam(), 1); }

INSTANTIATE_TEST_SUITE_P(Rules, OptimizerDevice,
                         testing::Values(Rule::kAdamW, Rule::kAdam, Rule::kAdamax, Rule::kRmsprop,
                                         Rule::kUncorrectedAdam, Rule::kLamb, Rule::kLars, Rule::kLarc,
                                         Rule::kSgd));

TEST(OptimizerDevice, KeepsBoundsAndLeavesFrozenSegmentsAlone) {
  Memory memory;
  auto all = scalars();
  all[0].bound = 0.125f;
  all[1].is_frozen = 1;
  update_on_device(Rule::kAdamW, false, memory.slice(), all.data(), nullptr);
  const Memory before;
  float largest = 0.0f;
  for (const DeviceSegment& s : kSegments) {
    for (std::int64_t i = s.offset; i < s.offset + s.count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (s.entry == 1) {
        EXPECT_EQ(memory.master[at], before.master[at]);
        EXPECT_EQ(memory.moment1[at], before.moment1[at]);
      } else {
        largest = std::max(largest, std::abs(memory.master[at]));
      }
    }
  }
  EXPECT_EQ(largest, 0.125f);
}

TEST(OptimizerDevice, AddsSquaresSegmentBySegment) {
  Memory memory;
  std::vector<double> sums(kSegments.size());
  squares_on_device(memory.slice(), sums.data(), nullptr);
  for (const DeviceSegment& s : kSegments) {
    const double expected = squared_sum(memory.gradient.data() + s.offset, s.count);
    EXPECT_NEAR(sums[static_cast<std::size_t>(s.sum)], expected, 1e-12 * expected);
  }
}

}  // namespace
}  // namespace kiln
