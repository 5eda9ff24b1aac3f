// A signal in every phase of a run, to the supervisor and to a rank: always 75, always within the
// grace, always resumable. Each phase is made long enough to be met
// (tests/support/failing_calls.c).
//
// KILN_SIGNAL_REPEATS: times per phase, 2 unless set: to the supervisor, then to a rank.

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "tests/launch/fixtures/families.h"
#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kGrace_s = 20;

struct Case {
  const char* name;
  std::vector<std::string> environment;
  std::vector<std::string> overrides;
  /// Steps done when the signal comes; -1: as soon as all ranks have met.
  int after_step;
  Family family = Family::kMae;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"StartUp", {}, {}, -1},
      {"DataWait", {"SLOW_READ_MS=120"}, {"data.workers=1"}, 1},
      {"Step", {}, {}, 10},
      {"Evaluation",
       {"SLOW_READ_MS=2"},
       {"eval.every=1", "eval.path=DATA", "eval.train_path=DATA"},
       1},
      {"Sampling", {}, {"eval.every=1", "eval.path=LATENTS"}, 1, Family::kDit},
      {"Saving", {"SLOW_SYNC_MS=150"}, {"checkpoint.every=1", "checkpoint.async=false"}, 2},
      {"AsyncSaving", {"SLOW_SYNC_MS=150"}, {"checkpoint.every=2"}, 3},
  };
  return all;
}

class SignalPhases : public testing::TestWithParam<int> {
 protected:
  const Case& phase() const { return cases()[static_cast<std::size_t>(GetParam())]; }

  std::vector<std::string> overrides() const {
    std::vector<std::string> words = phase().overrides;
    for (std::string& word : words) {
      if (const auto at = word.find("DATA"); at != std::string::npos)
        word.replace(at, 4, tiny_images().string());
      if (const auto at = word.find("LATENTS"); at != std::string::npos)
        word.replace(at, 7, tiny_latents_dataset().string());
    }
    words.insert(words.end(),
                 {"train.steps=100000", "run.reproducible=true", "parallel.timeout_s=30"});
    return words;
  }
  std::vector<std::string> words(const std::filesystem::path& run_dir) const {
    std::vector<std::string> all = {"env", "LD_PRELOAD=" KILN_FAILING_CALLS};
    all.insert(all.end(), phase().environment.begin(), phase().environment.end());
    const auto launcher = kiln(
        {"launch", "-np", "2", "--max-restarts", "0", "--grace", std::to_string(kGrace_s), "--"});
    const auto trained = train_family(phase().family, 0, run_dir, overrides());
    all.insert(all.end(), launcher.begin(), launcher.end());
    all.insert(all.end(), trained.begin() + 1, trained.end());
    return all;
  }
  static bool have_met(const std::filesystem::path& run_dir) {
    std::error_code missing;
    for (const auto& entry : std::filesystem::directory_iterator(run_dir / "launch", missing)) {
      if (entry.path().filename().string().starts_with("ready-")) return true;
    }
    return false;
  }
  void wait_for_phase(const Program& program, const std::filesystem::path& run_dir) const {
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    while (!have_met(run_dir)) {
      ASSERT_FALSE(program.has_ended()) << program.err_so_far();
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << program.err_so_far();
      std::this_thread::sleep_for(milliseconds(2));
    }
    if (phase().after_step >= 0) {
      ASSERT_TRUE(wait_for_step(program, run_dir, phase().after_step)) << program.err_so_far();
    }
  }
};

TEST_P(SignalPhases, EndIn75AndTheRunGoesOn) {
  const char* text = std::getenv("KILN_SIGNAL_REPEATS");
  const int repeats = text ? std::atoi(text) : 2;
  const auto run_dir = fresh_folder("signal_phases") / "run";
  std::mt19937 random(17);
  for (int i = 0; i < repeats; ++i) {
    if (phase().after_step < 0) std::filesystem::remove_all(run_dir);
    const std::int64_t before = last_logged_step(run_dir);
    Program program(words(run_dir));
    if (i == 0 || phase().after_step < 0) {
      wait_for_phase(program, run_dir);
    } else {
      ASSERT_TRUE(wait_for_step(program, run_dir, before + 1)) << program.err_so_far();
    }
    if (HasFatalFailure()) return;
    std::this_thread::sleep_for(milliseconds(random() % 80));
    const auto ranks = ranks_of(run_dir);
    if (i % 2 == 1 && !ranks.empty()) {
      kill(ranks[random() % ranks.size()], i % 4 == 1 ? SIGTERM : SIGUSR1);
    } else {
      program.signal(i % 4 == 0 ? SIGTERM : SIGINT);
    }
    const auto start = std::chrono::steady_clock::now();
    const Outcome outcome = program.finish(seconds(60));
    ASSERT_EQ(outcome.exit_code, 75) << phase().name << ", time " << i << "\n" << outcome.err;
    EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(kGrace_s));
    EXPECT_EQ(outcome.err.find("within the grace"), std::string::npos) << outcome.err;
    EXPECT_TRUE(ranks_of(run_dir).empty());
  }
  const std::int64_t reached = last_logged_step(run_dir);
  auto rest = overrides();
  rest.push_back("train.stop_after=" + std::to_string(reached + 2));
  const Outcome outcome = run(train_family(phase().family, 3, run_dir, rest));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.json()["step"], reached + 2);
}

INSTANTIATE_TEST_SUITE_P(All, SignalPhases, testing::Range(0, 7), [](const auto& info) {
  return std::string(cases()[static_cast<std::size_t>(info.param)].name);
});

}  // namespace
}  // namespace kiln::test
