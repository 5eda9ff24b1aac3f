// How a run ends when somebody or something stops it, and that it can always go on.

#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using std::chrono::seconds;

/// A run that would take minutes, caught in the middle of its steps.
class Signals : public testing::Test {
 protected:
  Signals() : folder_(fresh_folder("signals")), run_dir_(folder_ / "run") {}

  static std::vector<std::string> long_run() {
    return {"train.steps=100000", "checkpoint.every=10", "parallel.timeout_s=5"};
  }
  /// Waits until a few steps are done and a checkpoint is there to fall back on.
  void wait_until_training(const Program& program) const {
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    while (!std::filesystem::exists(run_dir_ / "checkpoints" / "step-000000010")) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << program.err_so_far();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  std::vector<pid_t> ranks() const {
    std::vector<pid_t> found;
    for (const pid_t pid : processes_with("run.dir=" + run_dir_.string())) {
      const auto executable =
          std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe");
      if (executable.filename() == "kiln") found.push_back(pid);
    }
    return found;
  }
  void expect_nothing_left() const {
    const auto deadline = std::chrono::steady_clock::now() + seconds(5);
    while (!processes_with("run.dir=" + run_dir_.string()).empty()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "processes are left behind";
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  /// The same command ends well within a few more steps.
  void expect_it_goes_on() const {
    const std::int64_t reached = losses(run_dir_).rbegin()->first;
    auto overrides = long_run();
    overrides.push_back("train.stop_after=" + std::to_string(reached + 5));
    const Outcome outcome = run(train(2, run_dir_, overrides));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.json()["step"], reached + 5);
  }

  const std::filesystem::path folder_;
  const std::filesystem::path run_dir_;
};

TEST_F(Signals, Usr1ToMpirunSavesAndReturns75) {
  Program program(train(2, run_dir_, long_run()));
  wait_until_training(program);
  program.signal(SIGUSR1);
  const Outcome outcome = program.finish(seconds(30));
  EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
  expect_nothing_left();
  expect_it_goes_on();
}

TEST_F(Signals, TermToARankSavesAndReturns75) {
  Program program(train(2, run_dir_, long_run()));
  wait_until_training(program);
  const auto pids = ranks();
  ASSERT_EQ(pids.size(), 2u);
  kill(pids.back(), SIGTERM);
  EXPECT_EQ(program.finish(seconds(30)).exit_code, 75);
  expect_nothing_left();
}

TEST_F(Signals, TermWithoutMpirunSavesAndReturns75) {
  Program program(train(0, run_dir_, long_run()));
  wait_until_training(program);
  program.signal(SIGTERM);
  EXPECT_EQ(program.finish(seconds(30)).exit_code, 75);
  expect_it_goes_on();
}

TEST_F(Signals, TermToMpirunEndsAllWithin5Seconds) {
  Program program(train(2, run_dir_, long_run()));
  wait_until_training(program);
  const auto start = std::chrono::steady_clock::now();
  program.signal(SIGTERM);
  EXPECT_NE(program.finish(seconds(30)).exit_code, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(5));
  expect_nothing_left();
  expect_it_goes_on();
}

TEST_F(Signals, KilledRankEndsAllAndTheRunGoesOn) {
  Program program(train(2, run_dir_, long_run()));
  wait_until_training(program);
  const auto pids = ranks();
  ASSERT_EQ(pids.size(), 2u);
  kill(pids.front(), SIGKILL);
  EXPECT_NE(program.finish(seconds(30)).exit_code, 0);
  expect_nothing_left();
  expect_it_goes_on();
}

TEST_F(Signals, KilledMpirunLeavesNoRankBehind) {
  Program program(train(2, run_dir_, long_run()));
  wait_until_training(program);
  program.signal(SIGKILL);
  EXPECT_NE(program.finish(seconds(30)).exit_code, 0);
  expect_nothing_left();
}

// A rank that no longer moves: the others name it and end the job within the time-out and 5 s.
TEST_F(Signals, StoppedRankIsNamedAndEndsTheJobWith5) {
  Program program(train(2, run_dir_, long_run()));
  wait_until_training(program);
  const auto pids = ranks();
  ASSERT_EQ(pids.size(), 2u);
  const auto start = std::chrono::steady_clock::now();
  kill(pids.back(), SIGSTOP);
  const Outcome outcome = program.finish(seconds(30));
  kill(pids.back(), SIGKILL);
  EXPECT_EQ(outcome.exit_code, 5) << outcome.err;
  // The time-out's 5 s, the 5 s that are promised after it, and some for a machine with other work.
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(15));
  EXPECT_NE(outcome.err.find("rank"), std::string::npos) << outcome.err;
  expect_nothing_left();
}

class LaunchSignals : public Signals, public testing::WithParamInterface<int> {};

TEST_P(LaunchSignals, AreTurnedIntoASaveAnd75) {
  auto words = train(0, run_dir_, long_run());
  std::vector<std::string> command = kiln({"launch", "-np", "2", "--max-restarts", "0", "--"});
  command.insert(command.end(), words.begin() + 1, words.end());
  Program program(command);
  wait_until_training(program);
  program.signal(GetParam());
  const Outcome outcome = program.finish(seconds(30));
  EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
  expect_nothing_left();
}

INSTANTIATE_TEST_SUITE_P(TermAndInterrupt, LaunchSignals, testing::Values(SIGTERM, SIGINT));

TEST_F(Signals, LaunchReturns5WhenARankIsKilled) {
  auto words = train(0, run_dir_, long_run());
  std::vector<std::string> command = kiln({"launch", "-np", "2", "--max-restarts", "0", "--"});
  command.insert(command.end(), words.begin() + 1, words.end());
  Program program(command);
  wait_until_training(program);
  const auto pids = ranks();
  ASSERT_GE(pids.size(), 2u);
  kill(pids.back(), SIGKILL);
  EXPECT_EQ(program.finish(seconds(30)).exit_code, 5);
  expect_nothing_left();
}

}  // namespace
}  // namespace kiln::test
