// That every kind of `kiln bench` measures something and says what it is held against. How fast
// anything is, no test asks.

#include <gtest/gtest.h>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using Json = nlohmann::json;

class Bench : public testing::Test {
 protected:
  Bench() : folder_(fresh_folder("bench")), recipe_(tiny_mae_recipe(folder_).string()) {}

  Json figures_of(const std::string& what, int ranks = 0) const {
    const std::vector<std::string> words = {
        "bench",     what, recipe_, "run.dir=" + (folder_ / "run").string(),
        "--repeats", "3",  "--json"};
    const Outcome outcome = run(ranks == 0 ? kiln(words) : mpirun(ranks, kiln(words)));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.json();
  }

  /// {min, median, max}, wherever they are.
  static int count_spreads(const Json& json) {
    int count = 0;
    for (const auto& [name, value] : json.items()) {
      if (!value.is_object()) continue;
      if (!value.contains("median")) {
        count += count_spreads(value);
        continue;
      }
      ++count;
      EXPECT_LE(value["min"], value["median"]) << name;
      EXPECT_LE(value["median"], value["max"]) << name;
    }
    return count;
  }

  const std::filesystem::path folder_;
  const std::string recipe_;
};

TEST_F(Bench, GivesMinMedianAndMaxOfEveryKind) {
  for (const char* what : {"step", "kernels", "loader", "checkpoint"}) {
    SCOPED_TRACE(what);
    const Json figures = figures_of(what);
    EXPECT_EQ(figures["bench"], what);
    EXPECT_GE(count_spreads(figures), 1);
  }
}

TEST_F(Bench, StepsOfTwoRanksAreHeldAgainstTheCeiling) {
  const Json figures = figures_of("step", 2);
  EXPECT_EQ(figures["ranks"], 2);
  EXPECT_GT(figures["samples_per_s"]["min"], 0.0);
  EXPECT_GT(figures["ceiling"]["gemm_flops_per_s_per_rank"]["median"], 0.0);
  EXPECT_GT(figures["memory_bytes"], 0);
  EXPECT_GE(count_spreads(figures_of("comm", 2)), 2);
}

TEST_F(Bench, ProfileAccountsForWhatOperatorsTake) {
  const Json figures = figures_of("profile");
  double sum = 0.0;
  for (const auto& [name, operation] : figures["operators"].items()) {
    EXPECT_GT(operation["calls"], 0.0) << name;
    EXPECT_GE(operation["seconds"], 0.0) << name;
    sum += operation["seconds"].get<double>();
  }
  EXPECT_TRUE(figures["operators"].contains("aten::mm"));
  EXPECT_NEAR(figures["accounted_s"], sum, 1e-9);
  // One thread runs them, so that they cannot take longer than the steps did.
  EXPECT_LE(sum, figures["step_s"]["max"].get<double>());
}

TEST_F(Bench, NamesTheNearestKind) {
  const Outcome outcome = run(kiln({"bench", "profil", recipe_}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("profile"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace kiln::test
