// Stopping and going on changes nothing: not a bit on the same number of ranks, nothing but the
// rounding of differently ordered sums on another.

#include <gtest/gtest.h>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

struct Way {
  int ranks;
  bool is_async;
};

class Resume : public testing::TestWithParam<Way> {};

std::string weights_hash(const Outcome& outcome) {
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.json().value("weights_hash", "none");
}

TEST_P(Resume, EndsInTheSameBits) {
  const auto [ranks, is_async] = GetParam();
  const auto folder = fresh_folder("resume");
  const std::string saving = std::string("checkpoint.async=") + (is_async ? "true" : "false");
  const std::string whole = weights_hash(run(train(ranks, folder / "whole", {saving})));
  const Outcome half = run(train(ranks, folder / "halves", {saving, "train.stop_after=10"}));
  EXPECT_EQ(half.json()["step"], 10);
  EXPECT_NE(weights_hash(half), whole);
  const Outcome rest = run(train(ranks, folder / "halves", {saving}));
  EXPECT_EQ(rest.json()["step"], 20);
  EXPECT_EQ(weights_hash(rest), whole);
  EXPECT_EQ(losses(folder / "halves"), losses(folder / "whole"));
}

INSTANTIATE_TEST_SUITE_P(RanksAndSaving, Resume,
                         testing::Values(Way{1, false}, Way{1, true}, Way{2, false}, Way{2, true}),
                         [](const auto& info) {
                           return std::to_string(info.param.ranks) +
                                  (info.param.is_async ? "Async" : "Sync");
                         });

class ResumeElsewhere : public testing::TestWithParam<int> {};

// Four sharded ranks write; another number of ranks, not sharded, goes on.
TEST_P(ResumeElsewhere, GoesOnWithTheSameLosses) {
  const auto folder = fresh_folder("resume_elsewhere");
  ASSERT_EQ(run(train(1, folder / "whole")).exit_code, 0);
  ASSERT_EQ(
      run(train(4, folder / "moved", {"train.stop_after=10", "parallel.shard_optimizer=true"}))
          .exit_code,
      0);
  const Outcome rest = run(train(GetParam(), folder / "moved"));
  ASSERT_EQ(rest.exit_code, 0) << rest.err;
  const auto expected = losses(folder / "whole");
  const auto found = losses(folder / "moved");
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [step, loss] : expected)
    EXPECT_NEAR(found.at(step), loss, 1e-6 * loss) << "step " << step;
}

INSTANTIATE_TEST_SUITE_P(Ranks, ResumeElsewhere, testing::Values(1, 2, 3));

// A checkpoint is exported where it was carried to, and its datasets were not.
TEST(Export, NeedsNoDataset) {
  const auto folder = fresh_folder("export_alone");
  const auto data = folder / "data";
  std::filesystem::copy(tiny_images(), data, std::filesystem::copy_options::recursive);
  ASSERT_EQ(
      run(train(0, folder / "run", {"train.stop_after=2", "data.path=" + data.string()})).exit_code,
      0);
  std::filesystem::remove_all(data);
  const Outcome outcome =
      run(kiln({"export", (folder / "run").string(), "--out", (folder / "hf").string()}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(std::filesystem::exists(folder / "hf" / "model.safetensors"));
}

}  // namespace
}  // namespace kiln::test
