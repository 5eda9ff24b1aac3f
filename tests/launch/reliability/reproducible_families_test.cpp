// Reproducible mode for every family of models, in fp32 and bf16: one hash whatever the number of
// ranks, sharded or not, stopped or not. A few numbers in the quick tier, all of them in the full.

#include <gtest/gtest.h>

#include <map>
#include <tuple>

#include "tests/launch/fixtures/families.h"
#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using Model = std::pair<Family, std::string>;  // and precision

const char* name_of(Family family) {
  return family == Family::kMae ? "Mae" : family == Family::kBert ? "Bert" : "Dit";
}

std::string hash_of(const Model& model, int ranks, const std::filesystem::path& folder,
                    std::vector<std::string> overrides) {
  overrides.insert(overrides.end(), {"run.precision=" + model.second, "train.steps=30"});
  const Outcome outcome = run(train_family(model.first, ranks, folder, overrides));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.json().value("weights_hash", "none");
}

std::string reference_of(const Model& model) {
  static std::map<Model, std::string> hashes;
  if (!hashes.count(model)) {
    hashes[model] = hash_of(model, 1, fresh_folder("families") / "one", {"run.reproducible=true"});
  }
  return hashes[model];
}

using Way = std::tuple<Family, std::string, int, bool>;  // precision, ranks, sharded

class Families : public testing::TestWithParam<Way> {};

TEST_P(Families, SameBitsOnAnyNumberOfRanks) {
  const auto& [family, precision, ranks, is_sharded] = GetParam();
  const std::string sharding =
      std::string("parallel.shard_optimizer=") + (is_sharded ? "true" : "false");
  EXPECT_EQ(hash_of({family, precision}, ranks, fresh_folder("families") / "run",
                    {"run.reproducible=true", sharding}),
            reference_of({family, precision}));
}

std::string name_of_way(const testing::TestParamInfo<Way>& info) {
  const auto& [family, precision, ranks, is_sharded] = info.param;
  return std::string(name_of(family)) + precision + "On" + std::to_string(ranks) +
         (is_sharded ? "Sharded" : "");
}

INSTANTIATE_TEST_SUITE_P(Quick, Families,
                         testing::Values(Way{Family::kMae, "bf16", 3, true},
                                         Way{Family::kBert, "fp32", 3, false},
                                         Way{Family::kBert, "bf16", 3, true},
                                         Way{Family::kDit, "fp32", 3, true},
                                         Way{Family::kDit, "bf16", 3, false}),
                         name_of_way);

INSTANTIATE_TEST_SUITE_P(Full, Families,
                         testing::Combine(testing::Values(Family::kMae, Family::kBert,
                                                          Family::kDit),
                                          testing::Values("fp32", "bf16"),
                                          testing::Values(2, 3, 4, 5, 8), testing::Bool()),
                         name_of_way);

class FamiliesResume : public testing::TestWithParam<Family> {};

// 5 ranks, 1, 8 sharded, 3.
TEST_P(FamiliesResume, SameBitsThroughStopsOnOtherNumbersOfRanks) {
  const Model model{GetParam(), "bf16"};
  const auto run_dir = fresh_folder("families") / "moved";
  const auto go = [&](int ranks, int stop_after, const std::string& sharded) {
    return hash_of(model, ranks, run_dir,
                   {"run.reproducible=true", "parallel.shard_optimizer=" + sharded,
                    "train.stop_after=" + std::to_string(stop_after)});
  };
  go(5, 7, "false");
  go(1, 12, "false");
  go(8, 21, "true");
  EXPECT_EQ(go(3, 0, "false"), reference_of(model));
}

INSTANTIATE_TEST_SUITE_P(Full, FamiliesResume,
                         testing::Values(Family::kMae, Family::kBert, Family::kDit),
                         [](const auto& info) { return name_of(info.param); });

class FamiliesControl : public testing::TestWithParam<Family> {};

TEST_P(FamiliesControl, FastModeDiffersInBits) {
  const Model model{GetParam(), "fp32"};
  const auto folder = fresh_folder("families");
  EXPECT_NE(hash_of(model, 1, folder / "one", {}), hash_of(model, 3, folder / "three", {}));
}

INSTANTIATE_TEST_SUITE_P(Full, FamiliesControl, testing::Values(Family::kBert, Family::kDit),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace kiln::test
