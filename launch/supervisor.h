#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace kiln {

struct SupervisorOptions {
  std::int64_t num_ranks = 1;
  std::string hosts;     // "a:8,b:8"; empty: this machine
  std::string hostfile;  // mpirun's format
  std::vector<std::string> command;
};

/// Runs `mpirun ... kiln COMMAND` to its end. SIGTERM, SIGINT, SIGHUP and SIGUSR1 reach mpirun as
/// SIGUSR1, which it forwards to every rank and waits; a second SIGTERM or SIGINT as SIGTERM, which
/// kills the ranks within two seconds. mpirun dies with this process, and the ranks with mpirun.
///
/// Result: what the ranks returned; kCommunication when a rank or mpirun was killed; kStopped when
/// a signal came before the ranks could save anything.
ExitCode supervise(const SupervisorOptions& options);

/// The words of the mpirun command, program first.
std::vector<std::string> mpirun_words(const SupervisorOptions& options, const std::string& program,
                                      std::int64_t num_cores);

}  // namespace kiln
