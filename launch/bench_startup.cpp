#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "launch/bench.h"

namespace kiln {

namespace {

/// Runs this program to its end with its output thrown away.
void run_self(std::vector<std::string> words) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  words.insert(words.begin(), program);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int descriptor : {STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0);
  }
  pid_t child = 0;
  int status = 0;
  const int failed =
      posix_spawn(&child, program.c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed || waitpid(child, &status, 0) != child || status != 0) {
    throw usage_error("'{}' ended with status {}; run it by itself to see why",
                      fmt::join(words, " "), WEXITSTATUS(status));
  }
}

}  // namespace

/// From starting the program to the end of the first step, saved; the ceiling is starting the
/// program, LibTorch's libraries included, and printing the help text.
Json bench_startup(const BenchWords& words) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("kiln-bench-startup-" + std::to_string(getpid()));
  std::vector<std::string> command = {"train", words.recipe};
  command.insert(command.end(), words.overrides.begin(), words.overrides.end());
  command.insert(command.end(), {"run.dir=" + folder.string(), "train.stop_after=1"});
  const std::int64_t repeats = std::min<std::int64_t>(words.repeats, 5);
  const auto first_step = seconds_of(repeats, [&] {
    std::filesystem::remove_all(folder);
    run_self(command);
  });
  std::filesystem::remove_all(folder);
  const auto bare = seconds_of(repeats, [&] { run_self({"--help"}); });
  return {{"first_step_s", to_json(spread_of(first_step))},
          {"ceiling", {{"load_program_s", to_json(spread_of(bare))}}}};
}

}  // namespace kiln
