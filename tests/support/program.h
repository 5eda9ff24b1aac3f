#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace kiln::test {

/// What a finished program left behind.
struct Outcome {
  int exit_code = -1;  // 128 + signal when it was ended by one
  bool timed_out = false;
  std::string out;
  std::string err;
  double seconds = 0;

  /// The JSON object on the last line of standard output; fails the test when there is none.
  nlohmann::json json() const;
};

/// A program under test with its outputs captured, in a process group of its own so that nothing it
/// started outlives the test.
class Program {
 public:
  explicit Program(const std::vector<std::string>& words);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  bool has_ended() const;
  /// True once `text` stands in what was written to standard error so far; false when `limit`
  /// passes or the program ends first.
  bool wait_for_error_text(const std::string& text, std::chrono::seconds limit) const;
  std::string err_so_far() const;
  /// Waits for the end; after `limit` the whole group is killed and timed_out is set.
  Outcome finish(std::chrono::seconds limit = std::chrono::seconds(120));

 private:
  pid_t pid_ = -1;
  std::filesystem::path folder_;
  std::chrono::steady_clock::time_point start_;
};

/// build/bin/kiln WORDS..., alone or under mpirun with `ranks` ranks.
std::vector<std::string> kiln(const std::vector<std::string>& words);
std::vector<std::string> mpirun(int ranks, const std::vector<std::string>& words);
Outcome run(const std::vector<std::string>& words,
            std::chrono::seconds limit = std::chrono::seconds(120));

/// An empty folder under the system's temporary one, removed at the end of the process.
std::filesystem::path fresh_folder(const std::string& name);

/// Processes whose command line contains `text`: pid and state, for "nothing is left behind".
std::vector<pid_t> processes_with(const std::string& text);

}  // namespace kiln::test
