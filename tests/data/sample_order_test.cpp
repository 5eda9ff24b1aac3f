#include "data/sample_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "data/permutation.h"

namespace kiln {
namespace {

std::vector<std::int64_t> epoch_of(const SampleOrder& order, std::int64_t epoch) {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < order.num_samples(); ++i) {
    ids.push_back(order.at(epoch * order.num_samples() + i));
  }
  return ids;
}

bool is_permutation_of_all(std::vector<std::int64_t> ids) {
  std::sort(ids.begin(), ids.end());
  for (std::int64_t i = 0; i < std::ssize(ids); ++i) {
    if (ids[static_cast<std::size_t>(i)] != i) return false;
  }
  return true;
}

TEST(Permutation, HitsEverythingOnceAndInverts) {
  const Philox stream(7, Purpose::kOrder, 3);
  for (std::int64_t size = 1; size <= 300; ++size) {
    const Permutation permutation(stream, 5, size);
    std::vector<std::int64_t> values;
    for (std::int64_t i = 0; i < size; ++i) {
      values.push_back(permutation.at(i));
      EXPECT_EQ(permutation.inverse(values.back()), i);
    }
    EXPECT_TRUE(is_permutation_of_all(values)) << "size " << size;
  }
}

TEST(SampleOrder, EveryEpochIsAPermutation) {
  // All combinations of whole and short last blocks, whole and short last windows.
  for (std::int64_t num_samples = 1; num_samples <= 60; ++num_samples) {
    for (std::int64_t block = 1; block <= 13; ++block) {
      for (std::int64_t window = 1; window <= 5; ++window) {
        const SampleOrder order({num_samples, block, window, true, 11});
        for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
          ASSERT_TRUE(is_permutation_of_all(epoch_of(order, epoch)))
              << num_samples << " samples, blocks of " << block << ", windows of " << window;
        }
      }
    }
  }
}

TEST(SampleOrder, EpochsAndSeedsDiffer) {
  const SampleOrder order({1000, 100, 4, true, 1});
  const SampleOrder other_seed({1000, 100, 4, true, 2});
  EXPECT_NE(epoch_of(order, 0), epoch_of(order, 1));
  EXPECT_NE(epoch_of(order, 0), epoch_of(other_seed, 0));
}

TEST(SampleOrder, WithoutShuffleRunsThroughInOrder) {
  const SampleOrder order({5, 2, 1, false, 1});
  EXPECT_EQ(order.at(0), 0);
  EXPECT_EQ(order.at(4), 4);
  EXPECT_EQ(order.at(12), 2);
}

TEST(SampleOrder, ReadsStayWithinAWindowOfBlocks) {
  const std::int64_t block = 100;
  const std::int64_t window = 4;
  const SampleOrder order({4000, block, window, true, 3});
  const auto ids = epoch_of(order, 0);
  for (std::int64_t begin = 0; begin < 4000; begin += window * block) {
    std::vector<bool> is_used(40);
    for (std::int64_t i = begin; i < begin + window * block; ++i) {
      is_used[static_cast<std::size_t>(ids[static_cast<std::size_t>(i)] / block)] = true;
    }
    EXPECT_EQ(std::count(is_used.begin(), is_used.end(), true), window);
  }
}

// Chi-squared of how often each sample stands at each place, over many epochs. With (n-1)^2 degrees
// of freedom it lies within 6 standard deviations of its mean; the seed is fixed, so it never
// flakes.
void expect_uniform(const SampleOrder& order) {
  const auto n = static_cast<std::size_t>(order.num_samples());
  const int num_epochs = 4000;
  std::vector<double> counts(n * n);
  for (int epoch = 0; epoch < num_epochs; ++epoch) {
    const auto ids = epoch_of(order, epoch);
    for (std::size_t place = 0; place < n; ++place) {
      counts[place * n + static_cast<std::size_t>(ids[place])] += 1.0;
    }
  }
  const double expected = static_cast<double>(num_epochs) / static_cast<double>(n);
  double chi_squared = 0.0;
  for (const double count : counts)
    chi_squared += (count - expected) * (count - expected) / expected;
  const double freedom = static_cast<double>((n - 1) * (n - 1));
  EXPECT_NEAR(chi_squared, freedom, 6.0 * std::sqrt(2.0 * freedom));
}

TEST(SampleOrder, PlacesAreUniformWithinOneWindow) {
  expect_uniform(SampleOrder({24, 4, 8, true, 5}));
}

TEST(SampleOrder, PlacesAreUniformAcrossWindows) {
  expect_uniform(SampleOrder({24, 4, 2, true, 5}));
}

TEST(SampleOrder, NeighboursOnDiskAreNotNeighboursInTheOrder) {
  const std::int64_t n = 10'000;
  const SampleOrder order({n, 500, 16, true, 9});
  const auto ids = epoch_of(order, 0);
  std::int64_t neighbours = 0;
  for (std::size_t i = 1; i < ids.size(); ++i) neighbours += std::abs(ids[i] - ids[i - 1]) == 1;
  EXPECT_LT(neighbours, 20);  // a uniform shuffle of a window has 2 in expectation
}

}  // namespace
}  // namespace kiln
