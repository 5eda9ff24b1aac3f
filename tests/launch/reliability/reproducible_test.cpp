// Reproducible mode: the same bits on any number of ranks, however often the run was stopped.

#include <gtest/gtest.h>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

std::string hash_of(int ranks, const std::filesystem::path& folder,
                    std::vector<std::string> overrides) {
  const Outcome outcome = run(train(ranks, folder, overrides));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.json().value("weights_hash", "none");
}

struct Way {
  int ranks;
  bool is_sharded;
};

class Reproducible : public testing::TestWithParam<Way> {
 protected:
  static const std::string& reference() {
    static const std::string hash =
        hash_of(1, fresh_folder("reproducible") / "one", {"run.reproducible=true"});
    return hash;
  }
};

TEST_P(Reproducible, SameBitsOnAnyNumberOfRanks) {
  const auto [ranks, is_sharded] = GetParam();
  const std::string sharding =
      std::string("parallel.shard_optimizer=") + (is_sharded ? "true" : "false");
  EXPECT_EQ(
      hash_of(ranks, fresh_folder("reproducible") / "run", {"run.reproducible=true", sharding}),
      reference());
}

INSTANTIATE_TEST_SUITE_P(RanksAndSharding, Reproducible,
                         testing::Values(Way{2, false}, Way{3, false}, Way{4, false}, Way{5, true},
                                         Way{8, false}, Way{3, true}),
                         [](const auto& info) {
                           return std::to_string(info.param.ranks) +
                                  (info.param.is_sharded ? "Sharded" : "Replicated");
                         });

// Four ranks, then one, then three.
TEST(ReproducibleResume, SameBitsThroughStopsOnOtherNumbersOfRanks) {
  const auto folder = fresh_folder("reproducible");
  const std::string whole = hash_of(2, folder / "whole", {"run.reproducible=true"});
  hash_of(4, folder / "moved",
          {"run.reproducible=true", "parallel.shard_optimizer=true", "train.stop_after=6"});
  hash_of(1, folder / "moved", {"run.reproducible=true", "train.stop_after=13"});
  EXPECT_EQ(hash_of(3, folder / "moved", {"run.reproducible=true"}), whole);
}

// The control: without the fixed order of sums the bits do depend on the number of ranks.
TEST(ReproducibleControl, FastModeDiffersInBits) {
  const auto folder = fresh_folder("reproducible");
  EXPECT_NE(hash_of(1, folder / "one", {}), hash_of(3, folder / "three", {}));
}

}  // namespace
}  // namespace kiln::test
