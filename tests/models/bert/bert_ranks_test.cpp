// Numbers of masked words differ between ranks; the loss does not.

#include <gtest/gtest.h>

#include <cmath>

#include "core/torch.h"
#include "tests/support/markov_text.h"

namespace kiln {
namespace {

double worst_difference(const std::vector<double>& found, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(found.at(i) - expected[i]) / expected[i]);
  }
  return worst;
}

class BertRanks : public testing::TestWithParam<int> {
 protected:
  static const std::vector<double>& alone() {
    static const std::vector<double> losses = markov::train({.ranks = 1});
    return losses;
  }
};

TEST_P(BertRanks, LossesOfTwentyStepsAreThoseOfOneRank) {
  const auto losses = markov::train({.ranks = GetParam()});
  ASSERT_EQ(losses.size(), 20u);
  EXPECT_LT(worst_difference(losses, alone()), 1e-6);
}

// The control: with each rank's own count as denominator they are others.
TEST_P(BertRanks, LocalDenominatorsGiveOtherLosses) {
  const auto losses = markov::train({.ranks = GetParam(), .is_locally_normalised = true});
  EXPECT_GT(worst_difference(losses, alone()), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Ranks, BertRanks, testing::Values(2, 3, 4));

TEST(BertRanksControl, OneRankHasNoOtherDenominatorThanItsOwn) {
  EXPECT_LT(worst_difference(markov::train({.is_locally_normalised = true}), markov::train({})),
            1e-6);
}

TEST(BertRanksControl, CountsOfMaskedWordsDiffer) {
  EXPECT_NE(markov::make_batch(0, 4, 1).denominators.at("masked"),
            markov::make_batch(4, 4, 1).denominators.at("masked"));
}

TEST(MarkovText, BayesLossOfManySamplesIsThePublishedOne) {
  const auto loss = markov::bayes_loss(markov::make_batch(0, 2000, 7));
  double both = 0, left = 0, squares = 0;
  const auto n = static_cast<double>(loss.both.size());
  for (std::size_t i = 0; i < loss.both.size(); ++i) {
    both += loss.both[i];
    squares += loss.both[i] * loss.both[i];
    left += loss.left[i];
  }
  const double mean = both / n, error = std::sqrt((squares / n - mean * mean) / n);
  // An independent computation on samples of its own: .823 +- .011 and 1.443.
  EXPECT_NEAR(mean, 0.823, 4 * std::hypot(error, 0.011));
  EXPECT_NEAR(left / n, 1.443, 0.05);
}

}  // namespace
}  // namespace kiln
