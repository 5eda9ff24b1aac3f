#include "core/checkpoint/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "core/base/error.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

const RunFolder::Options kQuick{20ms, 300ms, ""};

void write_lock(const fs::path& run_dir, const std::string& host, int beat) {
  fs::create_directories(run_dir);
  std::ofstream(run_dir / "lock") << host << " 17 3 " << beat << '\n';
}

TEST(RunFolder, RaisesTheAttemptAtEachStart) {
  const TemporaryFolder folder;
  EXPECT_EQ(read_attempt(folder / "run"), 0);
  for (const std::int64_t attempt : {1, 2, 3}) {
    EXPECT_EQ(RunFolder::open(folder / "run").attempt(), attempt);
    EXPECT_EQ(read_attempt(folder / "run"), attempt);
  }
}

TEST(RunFolder, RefusesASecondLiveRunAndNamesTheFirst) {
  const TemporaryFolder folder;
  const RunFolder first = RunFolder::open(folder / "run");
  EXPECT_THAT([&] { RunFolder::open(folder / "run"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("in use by process " + std::to_string(getpid())),
                                         HasSubstr("(attempt 1)"))));
  EXPECT_EQ(read_attempt(folder / "run"), 1);
}

TEST(RunFolder, TakesOverFromADeadProcessOfThisHost) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    const RunFolder held = RunFolder::open(folder / "run");
    ::_exit(0);  // no destructor: as if killed
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(RunFolder::open(folder / "run").attempt(), 2);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);  // without watching a heartbeat
}

TEST(RunFolder, RefusesWhileAnotherHostBeats) {
  const TemporaryFolder folder;
  write_lock(folder / "run", "elsewhere/1", 0);
  std::jthread other([&](std::stop_token stop) {
    for (int beat = 1; !stop.stop_requested(); ++beat) {
      write_lock(folder / "run", "elsewhere/1", beat);
      std::this_thread::sleep_for(10ms);
    }
  });
  EXPECT_THAT([&] { RunFolder::open(folder / "run", kQuick); },
              ThrowsMessage<Error>(HasSubstr("in use by")));
}

TEST(RunFolder, TakesOverFromAHostThatNoLongerBeats) {
  const TemporaryFolder folder;
  write_lock(folder / "run", "elsewhere/1", 5);
  EXPECT_EQ(RunFolder::open(folder / "run", kQuick).attempt(), 1);
}

TEST(RunFolder, BeatsWhileItIsHeld) {
  const TemporaryFolder folder;
  const RunFolder held = RunFolder::open(folder / "run", kQuick);
  const std::string first = read_text_file(folder / "run/lock");
  for (int wait = 0; wait < 500 && read_text_file(folder / "run/lock") == first; ++wait)
    std::this_thread::sleep_for(10ms);
  EXPECT_NE(read_text_file(folder / "run/lock"), first);
}

TEST(RunFolder, RemovesWhatInterruptedSavesLeft) {
  const TemporaryFolder folder;
  const fs::path checkpoints = folder / "run/checkpoints";
  for (const char* name : {"step-000000001", "step-000000002.partial", "step-000000003.removed",
                           "step-000000004.replaced", "notes.partial"})
    fs::create_directories(checkpoints / name);
  const RunFolder held = RunFolder::open(folder / "run");
  EXPECT_TRUE(fs::exists(checkpoints / "step-000000001"));
  EXPECT_FALSE(fs::exists(checkpoints / "step-000000002.partial"));
  EXPECT_FALSE(fs::exists(checkpoints / "step-000000003.removed"));
  EXPECT_TRUE(fs::exists(checkpoints / "step-000000004.replaced"));  // its successor is missing
  EXPECT_TRUE(fs::exists(checkpoints / "notes.partial"));
}

TEST(RunFolder, SaysWhatIsWrongWithAFolderItCannotWrite) {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "x";
  EXPECT_THAT([&] { RunFolder::open(folder / "file/run"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("file/run"), HasSubstr("Not a directory"))));
  fs::create_directories(folder / "run/lock");
  EXPECT_THAT([&] { RunFolder::open(folder / "run"); },
              ThrowsMessage<Error>(HasSubstr("Choose another run.dir")));
}

TEST(Identity, RefusesByNameWithBothValues) {
  EXPECT_THAT(
      [] {
        check_identity({{"train.epochs", "1"}, {"run.seed", "0"}, {"model.depth", "2"}},
                       {{"train.epochs", "2"}, {"run.seed", "0"}, {"model.width", "4"}}, {}, "RUN");
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("train.epochs was 1, is now 2"),
                                 HasSubstr("model.depth was 2, is now (not set)"),
                                 HasSubstr("model.width was (not set), is now 4"),
                                 HasSubstr("run.allow_change=[\"model.depth\""),
                                 Not(HasSubstr("run.seed")))));
}

TEST(Identity, AllowsWhatTheRecipeAllows) {
  EXPECT_THAT(check_identity({{"train.epochs", "1"}, {"model.depth", "2"}},
                             {{"train.epochs", "2"}, {"model.depth", "3"}},
                             {"train.epochs", "model"}, "RUN"),
              ElementsAre("model.depth", "train.epochs"));
}

}  // namespace
}  // namespace kiln
