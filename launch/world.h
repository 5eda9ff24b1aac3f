#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/communicator.h"
#include "launch/command.h"

namespace kiln {

/// The ranks a launcher started, or this process alone.
class World {
 public:
  int rank() const { return communicator_->rank(); }
  int size() const { return communicator_->size(); }
  /// For host tensors.
  Communicator& communicator() { return *communicator_; }
  /// Ranks on this node, and which of them this is.
  int ranks_on_node() const { return ranks_on_node_; }
  int rank_on_node() const { return rank_on_node_; }
  /// Cores this process may use, shared fairly with the other ranks of the node; at least 1.
  std::int64_t cores() const;

 private:
  friend CommandResult run_in_world(double, const std::function<CommandResult(World&)>&);
  explicit World(double timeout_s);
  void warn_of_odd_launch() const;

  std::unique_ptr<Communicator> communicator_;
  int ranks_on_node_ = 1;
  int rank_on_node_ = 0;
};

/// Initialises MPI when a launcher started several ranks, runs `body`, and finalises. When the body
/// throws on one of several ranks, its error is printed (once) and all ranks end with its exit
/// status: the others may be waiting for this one in a collective. `timeout_s`: the longest any
/// rank waits for another.
CommandResult run_in_world(double timeout_s, const std::function<CommandResult(World&)>& body);

}  // namespace kiln
