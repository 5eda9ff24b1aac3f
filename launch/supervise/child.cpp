#include "launch/supervise/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "core/base/error.h"

namespace kiln {

namespace {

struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) != 0) throw communication_error("pipe: {}", strerror(errno));
  }
};

/// In the child, between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(char* const* words, const sigset_t& mask, int out, int err, int failure) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  const int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  execvp(words[0], words);
  const int reason = errno;
  if (write(failure, &reason, sizeof reason) < 0) _exit(126);
  _exit(127);
}

std::map<pid_t, pid_t> parents() {
  std::map<pid_t, pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename().string();
    if (!std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c); })) continue;
    std::ifstream file(entry.path() / "stat");
    std::string line;
    if (!std::getline(file, line)) continue;
    // "pid (name) state ppid": the name may hold anything.
    const std::size_t end = line.rfind(')');
    if (end == std::string::npos || end + 4 >= line.size()) continue;
    found[std::stoi(name)] = std::atoi(line.c_str() + end + 4);
  }
  return found;
}

/// All processes below `root`.
std::vector<pid_t> descendants_of(pid_t root) {
  const auto parent_of = parents();
  std::vector<pid_t> found;
  for (const auto& [pid, unused] : parent_of) {
    for (auto at = parent_of.find(pid); at != parent_of.end(); at = parent_of.find(at->second)) {
      if (at->second != root) continue;
      found.push_back(pid);
      break;
    }
  }
  return found;
}

}  // namespace

Child::Child(const std::vector<std::string>& words, const sigset_t& mask) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  const Pipe out, err, failure;
  pid_ = fork();
  if (pid_ < 0) throw communication_error("fork: {}", strerror(errno));
  if (pid_ == 0) become(pointers.data(), mask, out.ends[1], err.ends[1], failure.ends[1]);
  for (const Pipe& pipe : {out, err, failure}) close(pipe.ends[1]);
  out_ = out.ends[0];
  err_ = err.ends[0];
  for (const int descriptor : {out_, err_}) fcntl(descriptor, F_SETFL, O_NONBLOCK);
  int reason = 0;
  const bool has_failed = read(failure.ends[0], &reason, sizeof reason) == sizeof reason;
  close(failure.ends[0]);
  if (!has_failed) return;
  waitpid(pid_, nullptr, 0);
  for (const int descriptor : {out_, err_}) close(descriptor);
  throw communication_error("'{}' cannot be started: {}; is it installed and on the PATH?",
                            words[0], strerror(reason));
}

Child::~Child() {
  kill_all();
  for (const int descriptor : {out_, err_}) {
    if (descriptor >= 0) close(descriptor);
  }
}

std::string Child::read_from(int& descriptor) {
  std::string text;
  char buffer[16384];
  while (descriptor >= 0) {
    const ssize_t count = read(descriptor, buffer, sizeof buffer);
    if (count > 0) {
      text.append(buffer, static_cast<std::size_t>(count));
    } else if (count < 0 && errno == EINTR) {
      continue;
    } else if (count < 0 && errno == EAGAIN) {
      break;
    } else {
      close(std::exchange(descriptor, -1));
    }
  }
  return text;
}

void Child::signal(int number) const {
  if (!status_) kill(pid_, number);
}

std::optional<int> Child::status() {
  int status = 0;
  if (!status_ && waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return status_;
}

void Child::kill_all() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (std::chrono::steady_clock::now() < deadline) {
    // Processes below this one: the program's children first, then their descendants, which become
    // children of this process.
    const std::vector<pid_t> found = descendants_of(getpid());
    for (const pid_t pid : found) kill(pid, SIGKILL);
    status();
    while (status_ && waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (status_ && descendants_of(getpid()).empty()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace kiln
