// What a run does about a loss or gradient that goes wrong.

#include "core/training/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/temporary_folder.h"
#include "tests/support/toy_training.h"

namespace kiln {
namespace {

using toy::Outcome;
using toy::train;
using toy::TrainingSetup;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<std::int64_t> saved_steps(const std::filesystem::path& run_dir) {
  std::vector<std::int64_t> steps;
  for (const auto& found : list_checkpoint_folders(run_dir)) steps.push_back(found.step);
  return steps;
}

TrainingSetup setup_with(const std::string& action) {
  TrainingSetup setup;
  setup.is_reproducible = true;
  setup.divergence.action = action;
  return setup;
}

TEST(DivergenceJudge, AcceptsWhatIsFiniteUntilTheWindowIsFull) {
  DivergenceJudge judge({.action = "skip", .loss_sigma = 3, .norm_sigma = 3, .window = 4});
  for (const double loss : {1.0, 2.0, 1.0}) judge.accept("", loss, loss);
  EXPECT_EQ(judge.verdict("", 1e9, 1e9), "");
  EXPECT_NE(judge.verdict("", kNan, 1.0), "");
  EXPECT_NE(judge.verdict("", 1.0, kNan), "");
  judge.accept("", 2.0, 2.0);
  // Mean 1.5, deviation 0.5: three of them end at 3.
  EXPECT_EQ(judge.verdict("", 2.9, 2.9), "");
  EXPECT_NE(judge.verdict("", 3.1, 2.9).find("loss 3.1 is an outlier (mean 1.5"),
            std::string::npos);
  EXPECT_NE(judge.verdict("", 2.9, 3.1).find("2-norm 3.1"), std::string::npos);
  EXPECT_EQ(judge.verdict("second", 3.1, 3.1), "") << "another phase's losses are no measure";
}

TEST(DivergenceJudge, HoldsEachPhaseAgainstItsOwnPast) {
  const DivergenceOptions options{.action = "skip", .loss_sigma = 3, .window = 2};
  DivergenceJudge judge(options), resumed(options);
  for (const double loss : {1.0, 2.0}) {
    judge.accept("", loss, 0);
    judge.accept("second", 100 * loss, 0);
  }
  std::map<std::string, std::int64_t> state;
  judge.save(state);
  resumed.load(state);
  for (const DivergenceJudge& each : {judge, resumed}) {
    EXPECT_EQ(each.verdict("second", 250, 0), "");
    EXPECT_NE(each.verdict("second", 350, 0), "");
    EXPECT_NE(each.verdict("", 250, 0), "");
  }
}

TEST(DivergenceJudge, ToleratesAsManyAsTheLimitUntilAWindowIsQuiet) {
  DivergenceJudge judge({.action = "skip", .window = 2, .limit = 2});
  EXPECT_TRUE(judge.tolerate());
  EXPECT_TRUE(judge.tolerate());
  EXPECT_FALSE(judge.tolerate());
  judge.end_good_step();
  judge.end_good_step();
  EXPECT_TRUE(judge.tolerate());
}

TEST(DivergenceJudge, GoesOnFromACheckpointToTheSameBits) {
  const DivergenceOptions options{.action = "skip", .loss_sigma = 3, .norm_sigma = 2, .window = 3};
  DivergenceJudge whole(options), half(options), resumed(options);
  for (int i = 0; i < 3; ++i) {
    whole.accept("", 1.0 + 0.1 * i, 0.3 * i);
    half.accept("", 1.0 + 0.1 * i, 0.3 * i);
  }
  std::map<std::string, std::int64_t> state;
  half.save(state);
  resumed.load(state);
  whole.accept("", 1.7, 0.2);
  resumed.accept("", 1.7, 0.2);
  EXPECT_EQ(resumed.verdict("", 99, 1), whole.verdict("", 99, 1));
  EXPECT_EQ(resumed.verdict("", 1, 99), whole.verdict("", 1, 99));
}

TEST(Divergence, SkippedStepChangesNothing) {
  TrainingSetup whole = setup_with("skip");
  whole.stop_after = 2;
  TrainingSetup broken = setup_with("skip");
  broken.stop_after = 3;
  broken.broken_micro_batch = 2;
  broken.broken_step = 2;
  for (const int ranks : {1, 2}) {
    broken.ranks = ranks;
    const Outcome outcome = train(broken);
    EXPECT_EQ(outcome.step, 3);
    EXPECT_EQ(outcome.losses.back(), -1.0);
    EXPECT_EQ(outcome.weights_hash, train(whole).weights_hash);
    ASSERT_EQ(outcome.divergences.size(), 1u);
    EXPECT_EQ(outcome.divergences[0].step, 3);
    EXPECT_EQ(outcome.divergences[0].suspects, (std::vector<std::int64_t>{2}));
    EXPECT_EQ(outcome.divergences[0].first_position, 24);
  }
}

TEST(Divergence, SkippingGoesOnToTheSameBitsOnAnyNumberOfRanks) {
  TrainingSetup setup = setup_with("skip");
  setup.broken_micro_batch = 1;
  setup.broken_step = 2;
  const Outcome one = train(setup);
  EXPECT_EQ(one.step, 6);
  EXPECT_TRUE(std::isfinite(one.losses.back()) && one.losses.back() > 0);
  setup.ranks = 3;
  EXPECT_EQ(train(setup).weights_hash, one.weights_hash);
  setup.is_sharded = true;
  EXPECT_EQ(train(setup).weights_hash, one.weights_hash);
}

TEST(Divergence, RollbackTakesTheCheckpointAndLeavesItsSamplesOut) {
  const TemporaryFolder folder;
  TrainingSetup whole = setup_with("rollback");
  whole.stop_after = 3;
  TrainingSetup broken = setup_with("rollback");
  broken.ranks = 2;
  broken.run_dir = folder / "run";
  broken.save_every = 3;
  broken.stop_after = 5;
  broken.broken_micro_batch = 0;
  broken.broken_step = 4;
  const Outcome outcome = train(broken);
  EXPECT_EQ(outcome.step, 5);
  EXPECT_EQ(outcome.weights_hash, train(whole).weights_hash);
}

TEST(Divergence, OutlierIsSkippedToo) {
  TrainingSetup setup = setup_with("skip");
  setup.steps = 12;
  setup.divergence.loss_sigma = 50;
  setup.divergence.window = 3;
  setup.broken_micro_batch = 3;
  setup.broken_step = 8;
  setup.broken_factor = 1e6;
  const Outcome outcome = train(setup);
  ASSERT_EQ(outcome.divergences.size(), 1u);
  EXPECT_EQ(outcome.divergences[0].step, 9);
  EXPECT_EQ(outcome.divergences[0].suspects, (std::vector<std::int64_t>{3}));
  setup.broken_factor = kNan;  // skipped for another reason: the same weights
  EXPECT_EQ(train(setup).weights_hash, outcome.weights_hash);
}

TEST(Divergence, TooManyBadStepsEndTheRun) {
  TrainingSetup setup = setup_with("skip");
  setup.broken_micro_batch = 0;
  setup.divergence.limit = 2;
  try {
    train(setup);
    FAIL() << "did not stop";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDiverged);
    EXPECT_NE(std::string(error.what()).find("step 3: "), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("divergence.limit"), std::string::npos);
  }
}

TEST(Divergence, RollbackWithoutACheckpointEndsTheRun) {
  const TemporaryFolder folder;
  TrainingSetup setup = setup_with("rollback");
  setup.run_dir = folder / "run";
  setup.save_every = 100;
  setup.broken_micro_batch = 0;
  try {
    train(setup);
    FAIL() << "did not stop";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDiverged);
    EXPECT_NE(std::string(error.what()).find("no checkpoint to roll back to"), std::string::npos);
  }
}

// A save that would be cut short is not begun, unless there is nothing yet to go on from.
TEST(Grace, DecidesWhetherToStartAnotherSave) {
  const TemporaryFolder folder;
  TrainingSetup setup;
  setup.run_dir = folder / "run";
  setup.save_every = 2;
  setup.grace_s = 10;
  setup.stop_age_s = [] { return 9.999999; };
  setup.is_stop_requested = [](int, std::int64_t asked) { return asked >= 3; };
  EXPECT_EQ(train(setup).code, ExitCode::kStopped);
  EXPECT_EQ(saved_steps(setup.run_dir), (std::vector<std::int64_t>{2}));
  setup.resumes = true;
  setup.stop_age_s = [] { return 0.1; };
  EXPECT_EQ(train(setup).code, ExitCode::kStopped);
  EXPECT_GT(saved_steps(setup.run_dir).size(), 1u);
}

}  // namespace
}  // namespace kiln
