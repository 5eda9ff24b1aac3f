// The same recipe on any number of ranks does the same work: the same samples, crops and masks, and
// losses equal up to the rounding of differently ordered sums.

#include <gtest/gtest.h>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

struct Way {
  int ranks;
  bool is_sharded;
};

class SameWork : public testing::TestWithParam<Way> {
 protected:
  struct Reference {
    std::map<std::int64_t, double> losses;
    std::vector<std::string> ledger;
  };
  /// One rank, run once.
  static const Reference& reference() {
    static const Reference result = [] {
      const auto folder = fresh_folder("same_work") / "one";
      const Outcome outcome = run(train(1, folder, {"log.ledger=true"}));
      EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
      return Reference{losses(folder), ledger(folder)};
    }();
    return result;
  }
};

TEST_P(SameWork, GivesTheSameLossesAndReadsTheSame) {
  const auto [ranks, is_sharded] = GetParam();
  const auto folder = fresh_folder("same_work") / "run";
  const Outcome outcome = run(train(ranks, folder,
                                    {"log.ledger=true", std::string("parallel.shard_optimizer=") +
                                                            (is_sharded ? "true" : "false")}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto found = losses(folder);
  ASSERT_EQ(found.size(), 20u);
  for (const auto& [step, loss] : reference().losses) {
    EXPECT_NEAR(found.at(step), loss, 1e-6 * loss) << "step " << step;
  }
  EXPECT_EQ(reference().ledger.size(), 20u * 8u);
  EXPECT_EQ(ledger(folder), reference().ledger);
}

INSTANTIATE_TEST_SUITE_P(RanksAndSharding, SameWork,
                         testing::Values(Way{2, false}, Way{3, false}, Way{4, false}, Way{1, true},
                                         Way{2, true}, Way{3, true}, Way{4, true}),
                         [](const auto& info) {
                           return std::to_string(info.param.ranks) +
                                  (info.param.is_sharded ? "Sharded" : "Replicated");
                         });

}  // namespace
}  // namespace kiln::test
