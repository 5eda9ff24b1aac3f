#include "core/base/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace kiln {
namespace {

using Words = std::array<std::uint32_t, 4>;

// Known answers published with Random123 (kat_vectors, philox4x32 10).
TEST(Philox, MatchesPublishedKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, ManyBlocksAreTheSingleOnes) {
  const Philox stream(0x123456789abcdefull, Purpose::kDropout, std::int64_t{1} << 40);
  // From one block to several vectors of them and a rest; across the border of the lower word.
  for (const std::uint64_t first : {0ull, 3ull, 0xfffffff0ull, 0xfffffffffffffff0ull - 100}) {
    for (const std::int64_t count : {0, 1, 7, 8, 37}) {
      std::vector<std::uint32_t> words(static_cast<std::size_t>(4 * count));
      stream.blocks(first, count, words.data());
      for (std::int64_t i = 0; i < count; ++i) {
        const auto expected = stream.block(first + static_cast<std::uint64_t>(i));
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), words.begin() + 4 * i))
            << first << " + " << i;
      }
    }
  }
}

TEST(Philox, FillsWithTheNumbersOfTheStream) {
  const Philox stream(3, Purpose::kNoise, 9);
  for (const std::int64_t count : {1, 6, 255, 256, 1001}) {
    std::vector<float> values(static_cast<std::size_t>(count));
    fill_uniform(stream, values.data(), count);
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], stream.uniform(i)) << i;
  }
}

TEST(Philox, StreamsDifferByPurposeAndPosition) {
  const Philox noise(7, Purpose::kNoise, 5);
  EXPECT_NE(noise.block(0), Philox(7, Purpose::kMask, 5).block(0));
  EXPECT_NE(noise.block(0), Philox(7, Purpose::kNoise, 6).block(0));
  EXPECT_NE(noise.block(0), Philox(8, Purpose::kNoise, 5).block(0));
  EXPECT_EQ(noise.block(0), Philox(7, Purpose::kNoise, 5).block(0));
}

TEST(Philox, BelowCoversItsRangeEvenly) {
  const Philox stream(1, Purpose::kOrder, 0);
  std::vector<int> counts(10);
  for (std::uint64_t i = 0; i < 100'000; ++i)
    ++counts[static_cast<std::size_t>(stream.below(10, i))];
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 4 * 95);  // 4 standard deviations
}

TEST(Philox, NormalHasZeroMeanAndUnitVariance) {
  constexpr int kCount = 100'001;  // odd: the last pair is cut
  std::vector<float> values(kCount);
  fill_normal(Philox(3, Purpose::kNoise, 0), values.data(), kCount);
  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += value;
    squares += double{value} * value;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 4 / std::sqrt(kCount));
  EXPECT_NEAR(squares / kCount, 1.0, 4 * std::sqrt(2.0 / kCount));
}

TEST(Philox, FillDoesNotDependOnLength) {
  std::vector<float> shorter(7), longer(100);
  fill_normal(Philox(3, Purpose::kNoise, 9), shorter.data(), 7);
  fill_normal(Philox(3, Purpose::kNoise, 9), longer.data(), 100);
  for (std::size_t i = 0; i < shorter.size(); ++i) EXPECT_EQ(shorter[i], longer[i]);
}

}  // namespace
}  // namespace kiln
