#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "core/base/error.h"
#include "launch/bench/bench.h"
#include "launch/run/own_program.h"

namespace kiln {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

pid_t start_self(std::vector<std::string>& args) {
  const std::string program = own_program();
  args.insert(args.begin(), program);
  std::vector<char*> pointers;
  for (std::string& word : args) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int descriptor : {STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0);
  }
  pid_t child = 0;
  const int failed =
      posix_spawn(&child, program.c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed) throw usage_error("'{}' cannot be started", program);
  return child;
}

struct Times {
  double report_s = 0.0;  // until the file of reports had something in it
  double end_s = 0.0;
};

/// Runs this program to its end with its output thrown away.
Times run_self(std::vector<std::string> args, const std::filesystem::path& reports = {}) {
  const auto began = Clock::now();
  const pid_t child = start_self(args);
  Times times;
  int status = 0;
  pid_t ended = 0;
  while (ended == 0) {
    std::error_code none;
    if (times.report_s == 0.0 && std::filesystem::file_size(reports, none) > 0 && !none) {
      times.report_s = seconds_since(began);
    }
    ended = waitpid(child, &status, WNOHANG);
    if (ended == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (ended != child || status != 0) {
    throw usage_error("'{}' ended with status {}; run it by itself to see why",
                      fmt::join(args, " "), WEXITSTATUS(status));
  }
  times.end_s = seconds_since(began);
  return times;
}

}  // namespace

/// From starting the program to the end of the first step, and on to the program's end with that
/// step saved; the ceiling is starting the program, LibTorch's libraries included, and printing the
/// help text.
Json bench_startup(const BenchArgs& args) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("kiln-bench-startup-" + std::to_string(getpid()));
  std::vector<std::string> command = {"train", args.recipe};
  command.insert(command.end(), args.overrides.begin(), args.overrides.end());
  command.insert(command.end(), {"run.dir=" + folder.string(), "train.stop_after=1"});
  const std::int64_t repeats = std::min<std::int64_t>(args.repeats, 5);
  std::vector<double> first_step, saved, bare;
  for (std::int64_t i = 0; i < repeats; ++i) {
    std::filesystem::remove_all(folder);
    const Times times = run_self(command, folder / "metrics.jsonl");
    first_step.push_back(times.report_s);
    saved.push_back(times.end_s);
    bare.push_back(run_self({"--help"}).end_s);
  }
  std::filesystem::remove_all(folder);
  return {{"first_step_s", to_json(spread_of(first_step))},
          {"saved_and_ended_s", to_json(spread_of(saved))},
          {"ceiling", {{"load_program_s", to_json(spread_of(bare))}}}};
}

}  // namespace kiln
