#pragma once

#include <chrono>
#include <memory>

#include "core/communicator.h"

namespace kiln {

struct MpiOptions {
  /// Longest an operation may be under way before its wait throws.
  std::chrono::milliseconds timeout{600'000};
  /// Sums of more ranks than this use MPI's own collectives; see MpiCollectives.
  int max_direct_ranks = 16;
};

/// All ranks of MPI_COMM_WORLD, host tensors. Between construction and destruction one
/// communication thread makes all MPI calls of the process; MPI must have been initialised with
/// MPI_THREAD_SERIALIZED at least. A collective call.
std::unique_ptr<Communicator> make_mpi_communicator(MpiOptions options);

}  // namespace kiln
