#include "tests/support/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace kiln::test {

namespace {

using Clock = std::chrono::steady_clock;

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void redirect(const std::filesystem::path& path, int to) {
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
  dup2(file, to);
  close(file);
}

/// All temporary folders of this process go when it ends.
struct Folders {
  std::vector<std::filesystem::path> paths;
  ~Folders() {
    for (const auto& path : paths) {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  }
};
Folders folders;

}  // namespace

nlohmann::json Outcome::json() const {
  std::istringstream lines(out);
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) last = line;
  }
  auto parsed = nlohmann::json::parse(last, nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(parsed.is_object()) << "no JSON on the last line of:\n"
                                  << out << "\nerrors:\n"
                                  << err;
  return parsed;
}

Program::Program(const std::vector<std::string>& words)
    : folder_(fresh_folder("program")), start_(Clock::now()) {
  pid_ = fork();
  if (pid_ != 0) return;
  setpgid(0, 0);
  redirect("/dev/null", STDIN_FILENO);
  redirect(folder_ / "out", STDOUT_FILENO);
  redirect(folder_ / "err", STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  _exit(127);
}

Program::~Program() {
  if (pid_ > 0) {
    killpg(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

void Program::signal(int number) const { kill(pid_, number); }

bool Program::has_ended() const {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == pid_;
}

std::string Program::err_so_far() const { return text_of(folder_ / "err"); }

bool Program::wait_for_error_text(const std::string& text, std::chrono::seconds limit) const {
  const auto deadline = Clock::now() + limit;
  while (Clock::now() < deadline) {
    if (err_so_far().find(text) != std::string::npos) return true;
    if (has_ended()) return err_so_far().find(text) != std::string::npos;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

Outcome Program::finish(std::chrono::seconds limit) {
  Outcome outcome;
  int status = 0;
  const auto deadline = Clock::now() + limit;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (Clock::now() > deadline) {
      outcome.timed_out = true;
      killpg(pid_, SIGKILL);
      waitpid(pid_, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  outcome.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = text_of(folder_ / "out");
  outcome.err = text_of(folder_ / "err");
  killpg(pid_, SIGKILL);  // whatever it left behind in its group
  pid_ = -1;
  return outcome;
}

std::vector<std::string> kiln(const std::vector<std::string>& words) {
  std::vector<std::string> command = {std::string(KILN_BIN_DIR) + "/kiln"};
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

std::vector<std::string> mpirun(int ranks, const std::vector<std::string>& words) {
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  setenv("OMPI_MCA_orte_execute_quiet", "1", 1);  // Open MPI 5 has no such word, nor the option -q
  std::vector<std::string> command = {"mpirun", "--oversubscribe",    "--bind-to", "none",
                                      "-np",    std::to_string(ranks)};
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

Outcome run(const std::vector<std::string>& words, std::chrono::seconds limit) {
  return Program(words).finish(limit);
}

std::filesystem::path fresh_folder(const std::string& name) {
  std::string pattern =
      (std::filesystem::temp_directory_path() / ("kiln_" + name + "_XXXXXX")).string();
  const char* made = mkdtemp(pattern.data());
  if (!made) throw std::runtime_error("no temporary folder " + pattern);
  folders.paths.emplace_back(made);
  return made;
}

std::vector<pid_t> processes_with(const std::string& text) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (!std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c); })) continue;
    std::string line = text_of(entry.path() / "cmdline");
    std::ranges::replace(line, '\0', ' ');
    const pid_t pid = std::stoi(name);
    if (pid != getpid() && line.find(text) != std::string::npos) found.push_back(pid);
  }
  return found;
}

}  // namespace kiln::test
