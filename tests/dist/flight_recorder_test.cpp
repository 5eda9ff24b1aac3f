#include "dist/flight_recorder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/report/activity.h"

namespace kiln {
namespace {

class FlightRecorderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("kiln_flight_" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static Operation barrier(std::int64_t sequence) {
    return {.kind = Operation::Kind::kBarrier, .sequence = sequence};
  }

  // Another process that records as `rank` and stops itself after `num_called` collectives.
  pid_t start_rank_that_stops(int rank, std::int64_t num_called) const {
    const pid_t pid = fork();
    if (pid == 0) {
      open_flight_record(folder_, rank);
      set_activity("wait for shard-00042.h5");
      for (std::int64_t i = 1; i <= num_called; ++i) record_called(FlightLane::kHost, barrier(i));
      raise(SIGSTOP);
      _exit(0);
    }
    waitpid(pid, nullptr, WUNTRACED);
    return pid;
  }

  static void kill_and_reap(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }

  std::filesystem::path folder_;
};

TEST_F(FlightRecorderTest, KeepsCallsAndActivity) {
  open_flight_record(folder_, 3);
  set_activity("compute step 12");
  record_called(FlightLane::kHost, barrier(41));
  record_called(FlightLane::kHost, barrier(42));
  record_done(FlightLane::kHost, barrier(41));
  const auto record = read_flight_record(folder_, 3);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->rank, 3);
  EXPECT_EQ(record->pid, getpid());
  EXPECT_EQ(record->activity, "compute step 12");
  EXPECT_EQ(record->lanes[0].called, 42);
  EXPECT_EQ(record->lanes[0].done, 41);
  EXPECT_EQ(record->lanes[0].last, "barrier #42 (0 bytes)");
  EXPECT_EQ(record->process_state, "running");
}

TEST_F(FlightRecorderTest, HistoryHasTheNewestOperationsInOrder) {
  open_flight_record(folder_, 0);
  for (std::int64_t i = 1; i <= 100; ++i) {
    record_called(FlightLane::kDevice, barrier(i));
    if (i < 100) record_done(FlightLane::kDevice, barrier(i));
  }
  const auto history = read_flight_record(folder_, 0)->history;
  ASSERT_EQ(history.size(), 64u);
  EXPECT_NE(history.front().find("device barrier #37 "), std::string::npos) << history.front();
  EXPECT_NE(history.back().find("barrier #100 (0 bytes), under way"), std::string::npos);
}

TEST_F(FlightRecorderTest, ReadsNothingWhereThereIsNoRecord) {
  EXPECT_FALSE(read_flight_record(folder_, 0));
  std::filesystem::create_directories(folder_ / "ranks");
  std::ofstream(folder_ / "ranks" / "0000.flight") << std::string(1'000'000, 'x');
  EXPECT_FALSE(read_flight_record(folder_, 0));
  std::ofstream(folder_ / "ranks" / "0000.flight") << "KILNFLT1";
  EXPECT_FALSE(read_flight_record(folder_, 0));
}

TEST_F(FlightRecorderTest, ExplainsAStoppedAndADeadRank) {
  open_flight_record(folder_, 0);
  const pid_t pid = start_rank_that_stops(1, 5);
  const std::string stopped = explain_from_record(1);
  EXPECT_NE(stopped.find("rank 1"), std::string::npos) << stopped;
  EXPECT_NE(stopped.find("is stopped"), std::string::npos) << stopped;
  EXPECT_NE(stopped.find("wait for shard-00042.h5"), std::string::npos) << stopped;
  kill_and_reap(pid);
  EXPECT_NE(explain_from_record(1).find("is dead"), std::string::npos);
}

TEST_F(FlightRecorderTest, NamesRanksBehindTheOthers) {
  open_flight_record(folder_, 0);
  record_called(FlightLane::kHost, barrier(7));
  const pid_t behind = start_rank_that_stops(1, 5);
  const auto sentences = explain_ranks_behind(FlightLane::kHost, 2);
  kill_and_reap(behind);
  ASSERT_EQ(sentences.size(), 1u);
  EXPECT_NE(sentences[0].find("rank 1"), std::string::npos) << sentences[0];
  EXPECT_NE(sentences[0].find("2 behind"), std::string::npos) << sentences[0];
}

}  // namespace
}  // namespace kiln
