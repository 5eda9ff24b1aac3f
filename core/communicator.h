#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace kiln {

/// A queued operation. Cheap to copy; dropping it does not cancel the operation.
class Work {
 public:
  class Impl {
   public:
    virtual ~Impl() = default;
    virtual void wait() = 0;
    virtual bool is_done() = 0;
  };
  Work() = default;
  explicit Work(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

  /// CPU tensors: blocks the caller until the result is there. GPU tensors: makes the current
  /// stream wait. Throws Error(kCommunication) naming operation and missing rank when the
  /// communicator's time-out passes. A default-constructed Work is done.
  void wait() {
    if (impl_) impl_->wait();
  }
  bool is_done() { return !impl_ || impl_->is_done(); }

 private:
  std::shared_ptr<Impl> impl_;
};

/// Ranks working together. One conformance suite (tests/dist/communicator_test.cpp) holds for all
/// implementations: local, thread, mpi, nccl.
///
/// Invariants:
/// 1. Operations run in the order they were called; every rank calls the same ones in the same
/// order.
/// 2. Tensors are contiguous, equal in size and type on all ranks, and must stay alive and
/// untouched
///    until the operation is done.
/// 3. No wait is endless: each is bounded by the time-out given at construction.
/// 4. all_reduce and reduce_scatter add; the order of additions is not specified, except that
/// adding
///    zeros changes nothing (which the fixed-order sums of the engine rely on).
///
/// Thread safety: one thread calls at a time.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string name() const = 0;

  /// In place. fp32, fp64, bf16, int64.
  virtual Work all_reduce(at::Tensor tensor) = 0;
  /// input [size * n] -> output [n]: the rank's own part of the sum. output may alias that part.
  virtual Work reduce_scatter(at::Tensor input, at::Tensor output) = 0;
  /// input [n] -> output [size * n]. input may alias the rank's own part of output.
  virtual Work all_gather(at::Tensor input, at::Tensor output) = 0;
  virtual Work broadcast(at::Tensor tensor, int root) = 0;
  virtual Work send(at::Tensor tensor, int to) = 0;
  virtual Work recv(at::Tensor tensor, int from) = 0;
  virtual void barrier() = 0;

  /// Ends the job on every rank with `exit_code` without waiting for anybody. Called when an error
  /// leaves this rank unable to take part in the next collective.
  [[noreturn]] virtual void abort(int exit_code) = 0;
};

}  // namespace kiln
