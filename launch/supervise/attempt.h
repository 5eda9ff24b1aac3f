#pragma once

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace kiln {

/// The signals a supervisor is sent, blocked and readable while this object lives.
class SupervisorSignals {
 public:
  SupervisorSignals();
  ~SupervisorSignals();
  SupervisorSignals(const SupervisorSignals&) = delete;
  SupervisorSignals& operator=(const SupervisorSignals&) = delete;

  int descriptor() const { return descriptor_; }
  /// The next that came, or 0. SIGCHLD is not told.
  int next();
  /// Requests to stop so far.
  int num_stops() const { return num_stops_; }
  /// Until a request to stop, at most `time`.
  void sleep(std::chrono::duration<double> time);
  const sigset_t& mask_before() const { return before_; }

 private:
  sigset_t before_;
  int descriptor_ = -1;
  int num_stops_ = 0;
};

/// One start of a job by mpirun or srun, to its end. Every stage is bounded.
struct AttemptOptions {
  std::vector<std::string> words;  // of the launcher
  std::filesystem::path run_dir;   // empty: not known, no sign of life is waited for
  std::filesystem::path log;       // both outputs; empty: none
  double ready_limit_s = 300;      // until all ranks have met
  double silence_limit_s = 615;    // without a beat of rank 0 in RUN/lock
  double grace_s = 120;            // from a request to stop
};

struct AttemptResult {
  ExitCode code = ExitCode::kDone;
  std::string reason;  // of the end, half a sentence
  double seconds = 0.0;
};

/// Passes both outputs on. A first SIGTERM, SIGINT, SIGHUP or SIGUSR1 reaches the launcher as
/// SIGUSR1, which it gives to every rank, and is kStopped in the end; so does, by force, one before
/// all ranks have met, a second one, and one that is not obeyed within the grace. Afterwards no
/// process of the job is left on this machine.
AttemptResult run_attempt(const AttemptOptions& options, SupervisorSignals& signals);

}  // namespace kiln
