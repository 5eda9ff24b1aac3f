#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
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

/// One half of a message between two ranks.
struct Transfer {
  enum class Direction { kSend, kReceive };
  Direction direction = Direction::kSend;
  at::Tensor tensor;
  int peer = 0;  // may be the rank itself
};

/// Ranks working together. One conformance suite (tests/dist/communicator_test.cpp) holds for all
/// implementations: local, thread, mpi, nccl.
///
/// Invariants:
/// 1. Operations run in the order they were called; every rank calls the same ones in that order.
/// 2. Tensors are contiguous, equal in size and type on all ranks, and stay alive and untouched
///    until the operation is done.
/// 3. No wait is endless: each is bounded by the time-out given at construction.
/// 4. all_reduce and reduce_scatter add; the order of additions is not specified, except that
///    adding zeros changes nothing (which the fixed-order sums of the engine rely on).
/// 5. Operations may be queued without waiting; one begins when those queued before it are done, so
///    a tensor that one writes may be read by the next.
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
  /// All transfers of the list at once, in any order on any rank, without deadlock. Ranks that take
  /// no part need not call. Transfers between the same two ranks match in the order of their lists;
  /// empty tensors are skipped.
  virtual Work exchange(std::vector<Transfer> transfers) = 0;
  Work send(at::Tensor tensor, int to) {
    return exchange({{Transfer::Direction::kSend, std::move(tensor), to}});
  }
  Work recv(at::Tensor tensor, int from) {
    return exchange({{Transfer::Direction::kReceive, std::move(tensor), from}});
  }
  virtual void barrier() = 0;
  /// Queues work of the caller's own between operations: what one has brought can be added up
  /// before the next sends it. Host tensors: `task` runs on the communicator's thread where it has
  /// one. GPU tensors: it runs at once, with the communicator's stream current. It must not call
  /// the communicator; what it throws, the waits from then on throw.
  virtual Work then(std::function<void()> task) = 0;

  /// Ends the job on every rank with `exit_code` without waiting for anybody. Called when an error
  /// leaves this rank unable to take part in the next collective.
  [[noreturn]] virtual void abort(int exit_code) = 0;
};

}  // namespace kiln
