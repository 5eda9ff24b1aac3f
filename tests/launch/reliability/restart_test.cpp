// The supervisor: what is lost is started again, from the newest checkpoint, to the same bits.

#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <sstream>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using std::chrono::seconds;

class Restart : public testing::Test {
 protected:
  Restart() : folder_(fresh_folder("restart")), run_dir_(folder_ / "run") {}

  static std::vector<std::string> recipe() {
    return {"train.steps=60", "checkpoint.every=8", "run.reproducible=true",
            "parallel.timeout_s=5"};
  }
  static std::string undisturbed_hash() {
    static const std::string hash =
        run(train(1, fresh_folder("undisturbed") / "run", recipe())).json()["weights_hash"];
    return hash;
  }
  std::string attempts() const {
    std::ostringstream text;
    text << std::ifstream(run_dir_ / "launch" / "log.txt").rdbuf();
    return text.str();
  }
  void expect_done(Program& program) const {
    const Outcome outcome = program.finish(seconds(120));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.json()["weights_hash"], undisturbed_hash());
    EXPECT_TRUE(ranks_of(run_dir_).empty());
    EXPECT_TRUE(launchers_of(run_dir_).empty());
  }

  const std::filesystem::path folder_;
  const std::filesystem::path run_dir_;
};

TEST_F(Restart, AfterAKilledRankTheRunEndsInTheSameBits) {
  Program program(launch({"-np", "3", "--backoff", "0.1"}, run_dir_, recipe()));
  ASSERT_TRUE(wait_for_step(program, run_dir_, 10)) << program.err_so_far();
  const auto ranks = ranks_of(run_dir_);
  ASSERT_EQ(ranks.size(), 3u);
  kill(ranks.back(), SIGKILL);
  expect_done(program);
  EXPECT_NE(attempts().find("was ended by signal 9"), std::string::npos) << attempts();
  EXPECT_NE(attempts().find("attempt 2 ended after"), std::string::npos) << attempts();
  EXPECT_TRUE(std::filesystem::exists(run_dir_ / "launch" / "attempt-0002.log"));
}

TEST_F(Restart, AfterAKilledMpirunTheRunEndsInTheSameBits) {
  Program program(launch({"-np", "2", "--backoff", "0.1"}, run_dir_, recipe()));
  ASSERT_TRUE(wait_for_step(program, run_dir_, 10)) << program.err_so_far();
  const auto launchers = launchers_of(run_dir_);
  ASSERT_EQ(launchers.size(), 1u);
  kill(launchers.front(), SIGKILL);
  expect_done(program);
  EXPECT_NE(attempts().find("mpirun was ended by signal 9"), std::string::npos) << attempts();
}

// Killed again and again before it can save: the number of restarts is bounded.
TEST_F(Restart, GivesUpWhenNoCheckpointGetsNewer) {
  auto overrides = recipe();
  overrides.insert(overrides.end(), {"train.steps=100000", "checkpoint.every=0"});
  Program program(
      launch({"-np", "2", "--backoff", "0.05", "--max-restarts", "1"}, run_dir_, overrides));
  int num_killed = 0;
  while (!program.has_ended()) {
    const auto ranks = ranks_of(run_dir_);
    if (ranks.size() == 2u && kill(ranks.front(), SIGKILL) == 0) ++num_killed;
    usleep(300'000);
  }
  const Outcome outcome = program.finish(seconds(60));
  EXPECT_EQ(outcome.exit_code, 5) << outcome.err;
  EXPECT_GE(num_killed, 2);
  EXPECT_NE(outcome.err.find("no restart left of 1 without a newer checkpoint"), std::string::npos)
      << outcome.err;
}

// mpirun stopped: nothing ends by itself, and a signal is not passed on. The grace bounds it.
TEST_F(Restart, KillsWhatDoesNotStopWithinTheGrace) {
  auto overrides = recipe();
  overrides.push_back("train.steps=100000");
  Program program(launch({"-np", "2", "--grace", "2"}, run_dir_, overrides));
  ASSERT_TRUE(wait_for_step(program, run_dir_, 10)) << program.err_so_far();
  const auto launchers = launchers_of(run_dir_);
  ASSERT_EQ(launchers.size(), 1u);
  kill(launchers.front(), SIGSTOP);
  const auto start = std::chrono::steady_clock::now();
  program.signal(SIGTERM);
  const Outcome outcome = program.finish(seconds(60));
  EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(15));
  EXPECT_NE(outcome.err.find("within the grace of 2 s"), std::string::npos) << outcome.err;
  EXPECT_TRUE(ranks_of(run_dir_).empty());
}

TEST_F(Restart, ASignalBeforeTheRanksHaveMetEndsTheJobWith75) {
  Program program(launch({"-np", "2"}, run_dir_, recipe()));
  while (launchers_of(run_dir_).empty() && !program.has_ended()) usleep(5'000);
  program.signal(SIGTERM);
  const Outcome outcome = program.finish(seconds(30));
  EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(run_dir_ / "checkpoints" / "step-000000060"));
  EXPECT_TRUE(ranks_of(run_dir_).empty());
}

}  // namespace
}  // namespace kiln::test
