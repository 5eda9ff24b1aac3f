#include "launch/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "core/log.h"
#include "launch/failure.h"

namespace kiln {

namespace {

std::int64_t usable_cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD}) sigaddset(&set, number);
  return set;
}

/// In the child, between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(char* const* words, const sigset_t& old_mask, int error_pipe) {
  setpgid(0, 0);  // Ctrl-C at the terminal is for the supervisor alone
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  sigprocmask(SIG_SETMASK, &old_mask, nullptr);
  const int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, STDIN_FILENO);
  execvp(words[0], words);
  const int reason = errno;
  if (write(error_pipe, &reason, sizeof reason) < 0) _exit(126);
  _exit(127);
}

pid_t start(const std::vector<std::string>& words, const sigset_t& old_mask) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  int error_pipe[2];
  if (pipe2(error_pipe, O_CLOEXEC) != 0) throw communication_error("pipe: {}", strerror(errno));
  const pid_t child = fork();
  if (child < 0) throw communication_error("fork: {}", strerror(errno));
  if (child == 0) become(pointers.data(), old_mask, error_pipe[1]);
  close(error_pipe[1]);
  int reason = 0;
  const bool failed = read(error_pipe[0], &reason, sizeof reason) == sizeof reason;
  close(error_pipe[0]);
  if (failed) {
    waitpid(child, nullptr, 0);
    throw communication_error("'{}' cannot be started: {}; is Open MPI installed and on the PATH?",
                              words[0], strerror(reason));
  }
  return child;
}

/// Passes signals on until the child ends; its wait status. `num_signals` counts requests to stop.
int wait_and_forward(pid_t child, const sigset_t& set, int& num_signals) {
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    const int number = sigwaitinfo(&set, nullptr);
    if (number < 0 || number == SIGCHLD) continue;
    ++num_signals;
    const bool is_impatient = num_signals > 1 && number != SIGUSR1;
    log_info("{}: {}", strsignal(number),
             is_impatient ? "ending the ranks at once" : "asking all ranks to save and stop");
    kill(child, is_impatient ? SIGTERM : SIGUSR1);
  }
  return status;
}

/// mpirun's own failures and its end by a signal are 1, as is a rank's internal error; the rank
/// leaves a note (fail()) in the file named by KILN_FAILURE_NOTE.
ExitCode result_of(int status, bool was_stopped, const std::filesystem::path& note) {
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  const bool has_note = std::filesystem::exists(note);
  std::filesystem::remove(note);
  switch (code) {
    case 0:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 75:
      return static_cast<ExitCode>(code);
    case 1:
      if (has_note) return ExitCode::kInternal;
      break;
    case 128 + SIGUSR1:  // asked to stop before it listened: there was nothing to save yet
      if (was_stopped) return ExitCode::kStopped;
      break;
    default:
      break;
  }
  log_error("the job ended with status {}: a rank was lost", code);
  return ExitCode::kCommunication;
}

}  // namespace

std::vector<std::string> mpirun_words(const SupervisorOptions& options, const std::string& program,
                                      std::int64_t num_cores) {
  std::vector<std::string> words = {"mpirun", "-q", "-np", std::to_string(options.num_ranks)};
  const bool is_local = options.hosts.empty() && options.hostfile.empty();
  if (is_local && options.num_ranks > num_cores) words.push_back("--oversubscribe");
  // Open MPI binds one or two ranks to a core each; Kiln gives a rank its share of the node's
  // cores.
  words.insert(words.end(), {"--bind-to", "none"});
  if (!options.hosts.empty()) words.insert(words.end(), {"--host", options.hosts});
  if (!options.hostfile.empty()) words.insert(words.end(), {"--hostfile", options.hostfile});
  for (char** variable = environ; *variable; ++variable) {
    const std::string text = *variable;
    if (text.starts_with("KILN_"))
      words.insert(words.end(), {"-x", text.substr(0, text.find('='))});
  }
  words.push_back(program);
  words.insert(words.end(), options.command.begin(), options.command.end());
  return words;
}

ExitCode supervise(const SupervisorOptions& options) {
  const std::filesystem::path note =
      std::filesystem::temp_directory_path() / fmt::format("kiln-failure-{}", getpid());
  setenv("KILN_FAILURE_NOTE", note.c_str(), 1);
  if (isatty(STDERR_FILENO)) setenv("KILN_STDERR_IS_TERMINAL", "1", 1);
  if (geteuid() == 0) {
    // mpirun refuses root unless told twice; who starts us as root means it.
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
    // Containers forbid one process to read another's memory, and Open MPI complains at length.
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
  }
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  const std::vector<std::string> words = mpirun_words(options, program, usable_cores());
  const sigset_t set = watched_signals();
  sigset_t old_mask;
  sigprocmask(SIG_BLOCK, &set, &old_mask);
  int num_signals = 0;
  const int status = wait_and_forward(start(words, old_mask), set, num_signals);
  sigprocmask(SIG_SETMASK, &old_mask, nullptr);
  return result_of(status, num_signals > 0, note);
}

}  // namespace kiln
