#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/communicator.h"

namespace kiln {

/// One call on a communicator, as a value that can be queued, matched with other ranks' and named
/// in an error.
struct Operation {
  enum class Kind : std::int32_t {
    kAllReduce,
    kReduceScatter,
    kAllGather,
    kBroadcast,
    kExchange,
    kBarrier,
    kTask
  };

  Kind kind = Kind::kBarrier;
  at::Tensor input = {};   // all_reduce and broadcast: the tensor itself
  at::Tensor output = {};  // reduce_scatter and all_gather only
  int root = 0;            // broadcast only
  std::vector<Transfer> transfers = {};
  std::function<void()> task = {};
  std::int64_t sequence = 0;  // from 1; collectives and exchanges are numbered apart

  /// Whether all ranks take part.
  bool is_collective() const { return kind != Kind::kExchange && kind != Kind::kTask; }
  /// "all_reduce #41 (4194304 bytes)"
  std::string describe() const;
};

const char* name_of(Operation::Kind kind);

/// The common part of all communicators: it checks arguments and numbers operations; submit() runs
/// them.
class CommunicatorBase : public Communicator {
 public:
  Work all_reduce(at::Tensor tensor) final;
  Work reduce_scatter(at::Tensor input, at::Tensor output) final;
  Work all_gather(at::Tensor input, at::Tensor output) final;
  Work broadcast(at::Tensor tensor, int root) final;
  Work exchange(std::vector<Transfer> transfers) final;
  void barrier() final;
  Work then(std::function<void()> task) final;

 protected:
  virtual Work submit(Operation operation) = 0;

 private:
  Work number_and_submit(Operation operation);

  std::int64_t num_collectives_ = 0;
  std::int64_t num_exchanges_ = 0;
};

}  // namespace kiln
