#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "launch/supervise/hosts.h"

namespace kiln {

struct SupervisorOptions {
  std::int64_t num_ranks = 1;
  std::vector<Host> hosts;        // none: this machine, or the Slurm allocation
  std::int64_t max_restarts = 3;  // in a row without a newer checkpoint
  double backoff_s = 1.0;         // before the first restart; doubles up to a minute
  double grace_s = 120.0;         // from a signal until the ranks are killed
  double ready_limit_s = 300.0;   // until all ranks have met
  std::vector<std::string> command;
};

/// Runs `mpirun ... kiln COMMAND`, inside a Slurm allocation `srun ...`, until it is done.
///
/// 1. `train` that ends because a rank, a host or the launcher was lost is started again, and goes
/// on
///    from the newest valid checkpoint. The wait doubles from restart to restart; a checkpoint
///    that is newer than before sets count and wait back.
/// 2. Before a restart all hosts are asked whether they answer; those that do not are left out.
/// 3. A signal to stop reaches all ranks as SIGUSR1, and nothing is started any more. Ranks that
/// have
///    not ended within the grace are killed. Every stage is bounded (launch/supervise/attempt.h).
/// 4. RUN/launch/attempt-NNNN.log has what an attempt printed, RUN/launch/log.txt a line each about
///    why it ended.
///
/// Result: what the ranks returned; kCommunication when one was lost once too often; kStopped
/// after a signal.
ExitCode supervise(const SupervisorOptions& options);

/// The words of the mpirun command, program first. `hosts` are those still in use.
std::vector<std::string> mpirun_words(const SupervisorOptions& options,
                                      const std::vector<Host>& hosts, const std::string& program,
                                      std::int64_t num_cores);
/// The same for Slurm.
std::vector<std::string> srun_words(const SupervisorOptions& options, const std::string& program);

}  // namespace kiln
