#include "launch/supervise/attempt.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

#include "core/checkpoint/run_folder.h"
#include "core/report/log.h"
#include "launch/supervise/child.h"
#include "launch/supervise/job_output.h"

namespace kiln {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kTermLimit_s = 5;  // from SIGTERM to SIGKILL
constexpr double kGoneLimit_s = 8;  // without a beat of a rank 0 that no longer exists

double seconds_since(Clock::time_point moment) {
  return std::chrono::duration<double>(Clock::now() - moment).count();
}

void write_all(int descriptor, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = write(descriptor, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR && errno != EAGAIN) return;  // the reader of the output is gone
    if (count > 0) done += static_cast<std::size_t>(count);
  }
}

/// Whether the holder ran on this machine and has ended.
bool is_gone(const std::optional<RunHolder>& holder) {
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  return holder && holder->host.starts_with(std::string(host) + "/") &&
         kill(static_cast<pid_t>(holder->pid), 0) != 0 && errno == ESRCH;
}

/// Files in which ranks tell their supervisor what the launcher's exit status does not.
struct Notes {
  std::filesystem::path failure;  // exit status of the first rank that had one
  std::filesystem::path ready;    // all ranks have met

  explicit Notes(const std::filesystem::path& folder) {
    const auto base = folder.empty() ? std::filesystem::temp_directory_path() : folder;
    failure = base / fmt::format("failure-{}", getpid());
    ready = base / fmt::format("ready-{}", getpid());
    remove();
    setenv("KILN_FAILURE_NOTE", failure.c_str(), 1);
    setenv("KILN_READY_NOTE", ready.c_str(), 1);
  }
  ~Notes() { remove(); }
  void remove() const {
    std::error_code ignored;
    std::filesystem::remove(failure, ignored);
    std::filesystem::remove(ready, ignored);
  }
};

class Attempt {
 public:
  Attempt(const AttemptOptions& options, SupervisorSignals& signals)
      : options_(options),
        signals_(signals),
        notes_(options.log.parent_path()),
        log_(options.log),
        child_(options.words, signals.mask_before()) {
    if (!options.run_dir.empty()) holder_ = read_holder(options.run_dir);  // an earlier one's
  }

  AttemptResult run() {
    if (signals_.num_stops() > 0) end("");
    while (!child_.status()) {
      wait();
      pass_on();
      while (signals_.next() != 0) on_stop();
      check_limits();
    }
    child_.kill_all();  // processes of the job that did not end with the launcher
    pass_on();
    write_all(STDERR_FILENO, output_.finish());
    return result(*child_.status());
  }

 private:
  void wait() {
    pollfd descriptors[] = {
        {signals_.descriptor(), POLLIN, 0}, {child_.out(), POLLIN, 0}, {child_.err(), POLLIN, 0}};
    poll(descriptors, std::size(descriptors), 200);
  }

  void pass_on() {
    const std::string out = child_.read_out(), err = child_.read_err();
    write_all(STDOUT_FILENO, out);
    write_all(STDERR_FILENO, output_.take(err));
    if (log_.is_open() && !(out.empty() && err.empty())) log_ << out << err << std::flush;
  }

  bool is_ready() {
    if (!is_ready_) is_ready_ = std::filesystem::exists(notes_.ready);
    return is_ready_;
  }

  void on_stop() {
    if (!stopped_) stopped_ = Clock::now();
    if (signals_.num_stops() > 1) return end("a second signal");
    if (!is_ready()) return end("a signal before all ranks had met: there is nothing to save yet");
    log_info("asking all ranks to save and stop");
    child_.signal(SIGUSR1);
  }

  /// SIGTERM now, SIGKILL a little later. `reason`: why the supervisor does so.
  void end(const std::string& reason) {
    if (ending_) return;
    ending_ = Clock::now();
    forced_ = reason;
    child_.signal(SIGTERM);
    child_.signal(SIGCONT);
  }

  void check_limits() {
    if (ending_) {
      if (seconds_since(*ending_) > kTermLimit_s) child_.kill_all();
    } else if (stopped_) {
      if (seconds_since(*stopped_) > options_.grace_s) {
        end(fmt::format("the ranks did not end within the grace of {} s", options_.grace_s));
      }
    } else if (!is_ready()) {
      if (seconds_since(start_) > options_.ready_limit_s) {
        end(fmt::format("the ranks had not all met after {} s", options_.ready_limit_s));
      }
    } else {
      check_life();
    }
  }

  /// Rank 0 beats in RUN/lock as long as its process runs. A launcher can hang after its ranks have
  /// ended: it does not notice when the connection to a host breaks.
  void check_life() {
    if (options_.run_dir.empty() || seconds_since(looked_) < 1) return;
    looked_ = Clock::now();
    const auto holder = read_holder(options_.run_dir);
    const bool has_beaten = !(holder == holder_);
    if (has_beaten) last_beat_ = Clock::now();
    has_beaten_ |= has_beaten && holder_;
    holder_ = holder;
    if (has_beaten_ && is_gone(holder_) && seconds_since(last_beat_) > kGoneLimit_s) {
      return end("rank 0 is gone, and the launcher does not end");
    }
    if (seconds_since(last_beat_) > options_.silence_limit_s) {
      end(fmt::format("no sign of life of rank 0 for {:.0f} s", options_.silence_limit_s));
    }
  }

  AttemptResult result(int status) {
    AttemptResult result{.seconds = seconds_since(start_)};
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.code = meaning_of(code);
    if (ending_ && !stopped_) result.code = ExitCode::kCommunication;
    const bool is_final = result.code == ExitCode::kDone || result.code == ExitCode::kUsage ||
                          result.code == ExitCode::kData || result.code == ExitCode::kDiverged ||
                          result.code == ExitCode::kCheckpoint;
    if (stopped_ && !is_final) result.code = ExitCode::kStopped;
    result.reason = reason_of(result.code, status);
    return result;
  }

  /// Where the launcher returns a status that no rank returned, the note of the first rank that
  /// failed counts.
  ExitCode meaning_of(int code) const {
    const auto is_ours = [](int status) {
      return status == 0 || (status >= 2 && status <= 6) || status == 75;
    };
    if (is_ours(code)) return static_cast<ExitCode>(code);
    int noted = 0;
    if (std::ifstream(notes_.failure) >> noted && (is_ours(noted) || noted == 1)) {
      return static_cast<ExitCode>(noted);
    }
    return ExitCode::kCommunication;
  }

  std::string reason_of(ExitCode code, int status) const {
    if (code == ExitCode::kDone) return "done";
    if (!forced_.empty()) {
      return output_.error().empty() ? forced_ : fmt::format("{} ({})", output_.error(), forced_);
    }
    if (code == ExitCode::kStopped && output_.error().empty()) return "stopped by a signal";
    if (!output_.error().empty()) return output_.error();
    if (!output_.lost_rank().empty()) return output_.lost_rank();
    const std::string launcher = std::filesystem::path(options_.words[0]).filename();
    if (WIFSIGNALED(status)) {
      return fmt::format("{} was ended by signal {} ({})", launcher, WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    }
    return fmt::format("{} returned {}", launcher, WEXITSTATUS(status));
  }

  const AttemptOptions& options_;
  SupervisorSignals& signals_;
  const Notes notes_;
  std::ofstream log_;
  JobOutput output_;
  Child child_;
  const Clock::time_point start_ = Clock::now();
  bool is_ready_ = false;
  std::optional<Clock::time_point> stopped_;  // when asked to
  std::optional<Clock::time_point> ending_;   // since then by force
  std::string forced_;
  std::optional<RunHolder> holder_;
  bool has_beaten_ = false;  // in this attempt
  Clock::time_point last_beat_ = Clock::now(), looked_ = Clock::now();
};

}  // namespace

SupervisorSignals::SupervisorSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD}) sigaddset(&set, number);
  sigprocmask(SIG_BLOCK, &set, &before_);
  descriptor_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

SupervisorSignals::~SupervisorSignals() {
  close(descriptor_);
  sigprocmask(SIG_SETMASK, &before_, nullptr);
}

int SupervisorSignals::next() {
  signalfd_siginfo info{};
  while (read(descriptor_, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) continue;
    ++num_stops_;
    log_info("{}", strsignal(static_cast<int>(info.ssi_signo)));
    return static_cast<int>(info.ssi_signo);
  }
  return 0;
}

void SupervisorSignals::sleep(std::chrono::duration<double> time) {
  const auto start = Clock::now();
  while (num_stops_ == 0 && seconds_since(start) < time.count()) {
    pollfd descriptor = {descriptor_, POLLIN, 0};
    poll(&descriptor, 1, 50);
    next();
  }
}

AttemptResult run_attempt(const AttemptOptions& options, SupervisorSignals& signals) {
  return Attempt(options, signals).run();
}

}  // namespace kiln
