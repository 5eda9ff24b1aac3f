#pragma once

#include <chrono>
#include <memory>

#include "core/communicator.h"

namespace kiln {

struct NcclOptions {
  /// For so long an operation may be the oldest one under way before the job is aborted.
  std::chrono::milliseconds timeout{600'000};
  /// CUDA device of this rank.
  int device = 0;
};

/// Whether this build contains NCCL.
bool has_nccl();

/// Over the ranks of `host`, for tensors on the rank's device. A collective call; `host` carries
/// the unique id and is not used afterwards.
///
/// Operations run on a high-priority stream of their own, after whatever the current stream holds
/// at the call; Work::wait makes the current stream wait, not the host. A watching thread polls for
/// NCCL's asynchronous errors and for the time-out; on either it aborts the NCCL communicator, so
/// that no kernel stays behind, and waits from then on throw. Operations may be captured in a CUDA
/// graph; replays are not watched for time-outs.
///
/// Throws Error(kUsage) where has_nccl() is false.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, NcclOptions options);

}  // namespace kiln
