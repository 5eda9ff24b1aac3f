#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "dist/nccl/nccl_check.h"
#include "dist/operation.h"

namespace kiln {

/// Polls an NCCL communicator and the operations queued on it from a thread of its own, and aborts
/// the communicator when NCCL reports an error or the oldest operation exceeds the time-out. The
/// thread calls nothing that waits for the GPU.
class NcclWatch {
 public:
  NcclWatch(ncclComm_t comm, int rank, int size, std::chrono::milliseconds timeout);
  ~NcclWatch() { close(); }

  /// Ends the thread. The caller aborts the NCCL communicator unless has_failed().
  void close();

  /// An operation that is done when `end` is.
  void add(const Operation& operation, std::shared_ptr<CudaEvent> end);
  /// Throws what went wrong, if anything has.
  void check();
  bool has_failed();

 private:
  using Clock = std::chrono::steady_clock;
  struct Queued {
    Operation operation;
    std::shared_ptr<CudaEvent> end;
  };

  void run();
  void look();
  void fail(const std::string& reason);

  const ncclComm_t comm_;
  const int rank_;
  const int size_;
  const std::chrono::milliseconds timeout_;

  std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  std::deque<Queued> operations_;
  Clock::time_point oldest_since_;
  std::exception_ptr error_;
  bool is_closed_ = false;
  std::thread thread_;
};

}  // namespace kiln
