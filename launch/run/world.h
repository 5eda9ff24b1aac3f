#pragma once

#include <functional>

#include "dist/mpi/process.h"
#include "launch/run/result.h"

namespace kiln {

/// The ranks that a command runs in.
using World = Process;

/// Joins the ranks a launcher started, runs `body`, and parts from them. When the body throws on
/// one of several ranks, its error is printed (once) and all ranks end with its exit status: the
/// others may be waiting for this one in a collective. `timeout_s`: the longest any rank waits for
/// another.
CommandResult run_in_world(double timeout_s, const std::function<CommandResult(World&)>& body);

}  // namespace kiln
