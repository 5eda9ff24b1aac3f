// Faults of one rank of a real run: one line names the rank and the cause, within the time-out and
// 5 s, and no process is left. (Faults between the collectives of a step: dist/autopsy_test.cpp.)

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

constexpr int kTimeout_s = 3;

class AutopsyOfARun : public testing::Test {
 protected:
  AutopsyOfARun() : run_dir_(fresh_folder("autopsy_run") / "run") {}

  static std::vector<std::string> recipe() {
    return {"train.steps=100000", "checkpoint.every=10",
            "parallel.timeout_s=" + std::to_string(kTimeout_s)};
  }
  static std::string verdict(const Outcome& outcome) {
    const std::string mark = "kiln: error: ";
    const auto begin = outcome.err.find(mark);
    if (begin == std::string::npos) return "none in:\n" + outcome.err;
    EXPECT_EQ(outcome.err.find(mark, begin + 1), std::string::npos) << outcome.err;
    return outcome.err.substr(begin, outcome.err.find('\n', begin) - begin);
  }
  void expect_nobody_left() const {
    for (int i = 0; i < 100 && !processes_with("run.dir=" + run_dir_.string()).empty(); ++i) {
      usleep(50'000);
    }
    EXPECT_TRUE(processes_with("run.dir=" + run_dir_.string()).empty());
  }
  const std::filesystem::path run_dir_;
};

// In the middle of training the reads of rank 1 come to take a minute.
TEST_F(AutopsyOfARun, AStalledReadIsNamedWithItsShard) {
  auto words = train(1, run_dir_, recipe());
  const auto alone = train(0, run_dir_, recipe());
  for (const char* word : {":", "-np", "1", "env", "LD_PRELOAD=" KILN_FAILING_CALLS,
                           "SLOW_READ_MS=60000", "SLOW_READ_AFTER=400"}) {
    words.push_back(word);
  }
  words.insert(words.end(), alone.begin(), alone.end());
  const Outcome outcome = run(words, seconds(60));
  EXPECT_EQ(outcome.exit_code, 5);
  EXPECT_THAT(verdict(outcome), HasSubstr("rank 1"));
  EXPECT_THAT(verdict(outcome), HasSubstr("shard-0000"));
  expect_nobody_left();
}

TEST_F(AutopsyOfARun, AStoppedRankIsNamedAndLaunchReturns5) {
  Program program(launch({"-np", "3", "--max-restarts", "0"}, run_dir_, recipe()));
  ASSERT_TRUE(wait_for_step(program, run_dir_, 5)) << program.err_so_far();
  const auto ranks = ranks_of(run_dir_);
  ASSERT_EQ(ranks.size(), 3u);
  const auto start = std::chrono::steady_clock::now();
  kill(ranks[1], SIGSTOP);
  const Outcome outcome = program.finish(seconds(60));
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(kTimeout_s + 5));
  EXPECT_EQ(outcome.exit_code, 5);
  EXPECT_THAT(verdict(outcome), HasSubstr("(process " + std::to_string(ranks[1])));
  EXPECT_THAT(verdict(outcome), HasSubstr("is stopped"));
  expect_nobody_left();
}

}  // namespace
}  // namespace kiln::test
