// Random faults on one run of the real binary: it finishes, in the bits of the undisturbed run.
//
// KILN_CHAOS_ROUNDS (5) and KILN_CHAOS_SEED (1) set length and sequence; a failure prints the
// faults it went through.

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using std::chrono::seconds;

constexpr int kTimeout_s = 4;

int number_in(const char* variable, int fallback) {
  const char* text = std::getenv(variable);
  return text ? std::atoi(text) : fallback;
}

enum Fault { kKillRank, kKillMpirun, kKillSupervisor, kTermLaunch, kTermRank, kStopRank, kFlipBit };
constexpr int kNumFaults = 7;
const char* const kFaultNames[kNumFaults] = {
    "kill -9 a rank",
    "kill -9 mpirun",
    "kill -9 the supervisor",
    "SIGTERM to the launch",
    "SIGTERM to a rank",
    "SIGSTOP a rank beyond the time-out",
    "SIGTERM, then a bit flipped in the newest checkpoint"};

class Chaos : public testing::Test {
 protected:
  Chaos()
      : num_rounds_(number_in("KILN_CHAOS_ROUNDS", 5)),
        random_(static_cast<unsigned>(number_in("KILN_CHAOS_SEED", 1))),
        folder_(fresh_folder("chaos")),
        run_dir_(folder_ / "run") {}

  std::vector<std::string> recipe() const {
    return {"train.steps=" + std::to_string(kStepsPerRound * (num_rounds_ + 1)),
            "checkpoint.every=6", "run.reproducible=true",
            "parallel.timeout_s=" + std::to_string(kTimeout_s)};
  }
  int below(std::size_t limit) { return static_cast<int>(random_() % limit); }

  // Every fault comes up before any comes again.
  std::vector<Fault> plan() {
    std::vector<Fault> faults;
    while (static_cast<int>(faults.size()) < num_rounds_) {
      std::vector<int> bag = {0, 1, 2, 3, 4, 5, 6};
      for (; !bag.empty() && static_cast<int>(faults.size()) < num_rounds_;) {
        const int at = below(bag.size());
        faults.push_back(static_cast<Fault>(bag[static_cast<std::size_t>(at)]));
        bag.erase(bag.begin() + at);
      }
    }
    return faults;
  }

  std::vector<std::string> start_words(int ranks) {
    auto overrides = recipe();
    overrides.push_back(below(2) == 0 ? "parallel.shard_optimizer=true" : "checkpoint.async=false");
    return launch({"-np", std::to_string(ranks), "--max-restarts", "0"}, run_dir_, overrides);
  }

  void have(Fault fault, const Program& program) {
    const auto ranks = ranks_of(run_dir_);
    const auto launchers = launchers_of(run_dir_);
    ASSERT_FALSE(ranks.empty());
    ASSERT_FALSE(launchers.empty());
    const pid_t rank = ranks[static_cast<std::size_t>(below(ranks.size()))];
    if (fault == kKillRank) kill(rank, SIGKILL);
    if (fault == kKillMpirun) kill(launchers.front(), SIGKILL);
    if (fault == kKillSupervisor) program.signal(SIGKILL);
    if (fault == kTermLaunch || fault == kFlipBit) program.signal(SIGTERM);
    if (fault == kTermRank) kill(rank, SIGTERM);
    if (fault == kStopRank) kill(rank, SIGSTOP);
  }

  static int expected_code(Fault fault, int ranks) {
    if (fault == kKillSupervisor) return 128 + SIGKILL;
    if (fault == kTermLaunch || fault == kTermRank || fault == kFlipBit) return 75;
    (void)ranks;
    return 5;
  }

  // False where there are fewer than two to choose from.
  bool flip_a_bit() {
    std::vector<std::filesystem::path> checkpoints;
    for (const auto& entry : std::filesystem::directory_iterator(run_dir_ / "checkpoints")) {
      if (std::filesystem::exists(entry.path() / "manifest.json"))
        checkpoints.push_back(entry.path());
    }
    if (checkpoints.size() < 2) return false;
    std::ranges::sort(checkpoints);
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(checkpoints.back())) {
      if (std::filesystem::file_size(entry.path()) > 0) files.push_back(entry.path());
    }
    std::ranges::sort(files);
    const auto& path = files[static_cast<std::size_t>(below(files.size()))];
    const auto at = static_cast<std::streamoff>(random_() % std::filesystem::file_size(path));
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ (1 << below(8))));
    return true;
  }

  void expect_nobody_left() const {
    for (int i = 0; i < 100 && !processes_with("run.dir=" + run_dir_.string()).empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    EXPECT_TRUE(processes_with("run.dir=" + run_dir_.string()).empty());
  }

  void do_round(int round, Fault fault) {
    constexpr int kRanks[] = {1, 2, 3, 4, 5, 8};
    const int ranks = fault == kStopRank ? kRanks[1 + below(3)] : kRanks[below(6)];
    // Ranks whose supervisor was killed go on for a while, on a quick machine beyond a round's end:
    // the next fault waits for a step that this attempt makes.
    const std::int64_t reached = last_logged_step(run_dir_);
    Program program(start_words(ranks));
    const std::int64_t planned = kStepsPerRound * round + 1 + below(kStepsPerRound / 2);
    const std::int64_t step = std::max(planned, reached + 1);
    ASSERT_TRUE(wait_for_step(program, run_dir_, step, seconds(120))) << program.err_so_far();
    have(fault, program);
    const Outcome outcome = program.finish(seconds(60));
    EXPECT_FALSE(outcome.timed_out) << outcome.err;
    EXPECT_EQ(outcome.exit_code, expected_code(fault, ranks)) << outcome.err;
    expect_nobody_left();
    const bool has_flipped = fault == kFlipBit && flip_a_bit();
    std::printf("round %d, %d ranks, step %lld: %s%s; %.1f s\n", round, ranks,
                static_cast<long long>(step), kFaultNames[fault],
                fault == kFlipBit && !has_flipped ? " (not flipped)" : "", outcome.seconds);
  }

  static constexpr int kStepsPerRound = 40;
  const int num_rounds_;
  std::mt19937 random_;
  const std::filesystem::path folder_, run_dir_;
};

TEST_F(Chaos, EndsInTheBitsOfTheUndisturbedRun) {
  const Outcome undisturbed = run(train(2, folder_ / "undisturbed", recipe()), seconds(600));
  ASSERT_EQ(undisturbed.exit_code, 0) << undisturbed.err;
  int round = 0;
  for (const Fault fault : plan()) {
    do_round(round++, fault);
    ASSERT_FALSE(HasFailure()) << "in round " << round - 1 << ": " << kFaultNames[fault];
  }
  const Outcome finished = run(start_words(3), seconds(600));
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_EQ(finished.json()["weights_hash"], undisturbed.json()["weights_hash"]);
  EXPECT_EQ(finished.json()["step"], undisturbed.json()["step"]);
}

}  // namespace
}  // namespace kiln::test
