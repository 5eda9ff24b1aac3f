// Faults of one rank under the real mpirun: the job ends in time, with the right status, and one
// line says which rank was waited for and what it was doing.

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/program.h"

namespace kiln {
namespace {

constexpr double kTimeout_s = 2.0;   // as in faulty_rank.cpp
constexpr double kStartUp_s = 10.0;  // of mpirun and MPI on a busy machine

class AutopsyTest : public testing::Test {
 protected:
  test::Outcome run_with_fault(const std::string& fault) {
    folder_ = test::fresh_folder("kiln_autopsy_" + fault).string();
    const auto outcome =
        test::run(test::mpirun(3, {KILN_FAULTY_RANK, fault, folder_}), std::chrono::seconds(60));
    EXPECT_LT(outcome.seconds, kTimeout_s + 5 + kStartUp_s) << outcome.err;
    return outcome;
  }

  // Ranks of a job that is over may take a moment to go.
  void expect_nobody_left() const {
    for (int i = 0; i < 50 && !test::processes_with(folder_).empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    EXPECT_TRUE(test::processes_with(folder_).empty());
  }

  static void expect_one_line(const test::Outcome& outcome, const std::vector<std::string>& parts) {
    const std::string mark = "kiln: error: ";
    const auto begin = outcome.err.find(mark);
    ASSERT_NE(begin, std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find(mark, begin + 1), std::string::npos) << outcome.err;
    const std::string line = outcome.err.substr(begin, outcome.err.find('\n', begin) - begin);
    for (const auto& part : parts) EXPECT_NE(line.find(part), std::string::npos) << line;
  }

  std::string folder_;
};

TEST_F(AutopsyTest, WithoutFaultAllIsWell) {
  const auto outcome = run_with_fault("none");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

TEST_F(AutopsyTest, NamesAStalledRead) {
  const auto outcome = run_with_fault("stall");
  EXPECT_EQ(outcome.exit_code, 5);
  expect_one_line(outcome,
                  {"barrier #", "rank 1 is in wait for shard-00042.h5", "1 collectives behind"});
  expect_nobody_left();
}

TEST_F(AutopsyTest, NamesAStoppedRank) {
  const auto outcome = run_with_fault("stop");
  EXPECT_EQ(outcome.exit_code, 5);
  expect_one_line(outcome, {"rank 1 (process ", "is stopped", "compute step 4"});
  expect_nobody_left();
}

TEST_F(AutopsyTest, NamesARankThatSkippedACollective) {
  const auto outcome = run_with_fault("skip");
  EXPECT_EQ(outcome.exit_code, 5);
  expect_one_line(outcome, {"rank 1", "wait for all ranks to end"});
  expect_nobody_left();
}

TEST_F(AutopsyTest, ErrorOfOneRankEndsAllAtOnce) {
  const auto outcome = run_with_fault("throw");
  EXPECT_EQ(outcome.exit_code, 3);
  expect_one_line(outcome, {"shard-00042.h5 is cut short"});
  expect_nobody_left();
}

TEST_F(AutopsyTest, KilledRankEndsAllAtOnce) {
  const auto outcome = run_with_fault("kill");
  EXPECT_EQ(outcome.exit_code, 137);
  expect_nobody_left();
}

}  // namespace
}  // namespace kiln
