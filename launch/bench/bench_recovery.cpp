#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/base/error.h"
#include "core/checkpoint/checkpoint_reader.h"
#include "core/checkpoint/run_folder.h"
#include "dist/flight_recorder.h"
#include "launch/bench/bench.h"
#include "launch/run/own_program.h"
#include "launch/supervise/child.h"

namespace kiln {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kLimit_s = 300;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::int64_t last_step(const std::filesystem::path& run) {
  std::ifstream file(run / "metrics.jsonl");
  std::int64_t step = 0;
  for (std::string line; std::getline(file, line);) {
    const auto parsed = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_object()) step = parsed.value("step", step);
  }
  return step;
}

std::int64_t newest_checkpoint(const std::filesystem::path& run) {
  const auto folders = list_checkpoint_folders(run);
  return folders.empty() ? 0 : folders.front().step;
}

ino_t inode(const std::filesystem::path& path) {
  struct stat facts {};
  return stat(path.c_str(), &facts) == 0 ? facts.st_ino : 0;
}

class SupervisedRun {
 public:
  SupervisedRun(const BenchArgs& args, const std::filesystem::path& run)
      : run_(run), child_(command(args, run), no_signals()) {}

  /// Seconds until `is_true`.
  template <typename Condition>
  double wait_until(Condition is_true) {
    const auto start = Clock::now();
    while (!is_true()) {
      log_ += child_.read_out() + child_.read_err();
      if (child_.status() || seconds_since(start) > kLimit_s) {
        throw communication_error("the supervised run does not go on:\n{}", log_);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return seconds_since(start);
  }
  double wait_for_step(std::int64_t step) {
    return wait_until([&] { return last_step(run_) >= step; });
  }

  /// From kill -9 of a rank to the next step that was done after it.
  double recover() {
    const std::int64_t attempt = read_attempt(run_);
    const auto record = read_flight_record(run_, 0);
    if (!record) throw communication_error("{} has no flight record", run_.string());
    const ino_t log_before = inode(run_ / "metrics.jsonl");
    const auto start = Clock::now();
    kill(static_cast<pid_t>(record->pid), SIGKILL);
    wait_until([&] { return read_attempt(run_) > attempt; });
    const std::int64_t from = newest_checkpoint(run_);
    // The run first drops the lines of steps that it repeats, and replaces this file by another.
    wait_until(
        [&] { return last_step(run_) > from && inode(run_ / "metrics.jsonl") != log_before; });
    return seconds_since(start);
  }

 private:
  static sigset_t no_signals() {
    sigset_t set;
    sigemptyset(&set);
    return set;
  }
  static std::vector<std::string> command(const BenchArgs& args, const std::filesystem::path& run) {
    std::vector<std::string> all = {own_program(),
                                    "launch",
                                    "-np",
                                    std::to_string(args.ranks),
                                    "--max-restarts",
                                    "1000",
                                    "--backoff",
                                    "0.01",
                                    "--",
                                    "train",
                                    args.recipe};
    all.insert(all.end(), args.overrides.begin(), args.overrides.end());
    all.insert(all.end(), {"run.dir=" + run.string(), "log.every=1", "checkpoint.every=10"});
    return all;
  }
  const std::filesystem::path run_;
  std::string log_;
  Child child_;
};

}  // namespace

/// Kills rank 0 of a supervised run several times. The ceiling is a start of the same run, because
/// a restart of processes cannot be faster.
Json bench_recovery(const BenchArgs& args) {
  const auto run =
      std::filesystem::temp_directory_path() / fmt::format("kiln-bench-recovery-{}", getpid());
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::vector<double> recovery;
  double start_s = 0;
  {
    SupervisedRun supervised(args, run);
    start_s = supervised.wait_for_step(1);
    for (std::int64_t i = 0; i < std::min<std::int64_t>(args.repeats, 5); ++i) {
      supervised.wait_for_step(newest_checkpoint(run) + 12);
      recovery.push_back(supervised.recover());
    }
  }
  std::filesystem::remove_all(run);
  return {{"kill_to_next_step_s", to_json(spread_of(recovery))},
          {"ranks", args.ranks},
          {"ceiling", {{"start_to_first_step_s", start_s}}}};
}

}  // namespace kiln
