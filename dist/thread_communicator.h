#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "core/communicator.h"

namespace kiln {

/// Ranks as threads of one process (host tensors), for tests: one communicator per rank, each used
/// by one thread. The last rank to arrive at an operation carries it out.
///
/// abort() throws here instead of ending the process: all ranks' waits, now and later, throw the
/// same exit code.
std::vector<std::unique_ptr<Communicator>> make_thread_communicators(
    int size, std::chrono::milliseconds timeout);

}  // namespace kiln
