#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/checkpoint/checkpoint.h"
#include "core/communicator.h"
#include "core/objective.h"
#include "core/training/training_phase.h"

namespace kiln {

/// The averages of an objective (Average in core/objective.h): fp32 state, followed by targets in
/// the model's precision.
///
/// In fp32 a target is the state itself, whole on every rank. In bf16 a rank keeps the state of
/// what it has master weights of, and the ranks then gather the targets.
///
/// Thread safety: one thread, the one that uses the communicator.
class AverageNetworks {
 public:
  /// `communicator` is for tensors of the model's device. What is referred to must outlive this.
  AverageNetworks(std::vector<Average> averages, const std::vector<TrainingPhase*>& phases,
                  bool is_sharded, Communicator& communicator);

  /// Exact copies of the weights as they are now.
  void copy_sources();
  /// One step of the averages with a source in a phase of `updated`. `now` and `next`: the values
  /// of schedules in this step and the next. Collective in bf16 when sharded.
  void update(const std::vector<bool>& updated, const std::map<std::string, double>& now,
              const std::map<std::string, double>& next);

  /// The pieces this rank saves: views.
  void add_pieces(CheckpointState& state) const;
  /// Collective in bf16 when sharded.
  void load(const ReadPiece& read);

 private:
  /// What this rank keeps of one pair.
  struct Part {
    std::string name;  // in checkpoints
    std::vector<std::int64_t> shape;
    Range elements;          // of the tensor
    at::Tensor source;       // 1-D; fp32 master weights, or what never changes
    at::Tensor average;      // fp32, 1-D
    at::Tensor target;       // the model's precision, 1-D; fp32: the average itself
    bool is_moving = false;  // the source is a parameter
    bool is_split = false;   // other ranks have other parts
  };
  struct Network {
    Average average;
    std::vector<Part> parts;
    /// bf16 and sharded: where what a rank sends goes, in its order.
    std::vector<std::vector<at::Tensor>> targets_by_rank;
    std::vector<bool> phases;  // those that have a source of it
  };
  struct Source {
    std::size_t phase = 0;
    std::size_t entry = 0;
  };
  void add_pair(Network& network, const Average::Pair& pair,
                const std::map<const void*, Source>& sources,
                const std::vector<TrainingPhase*>& phases);
  double decay_of(const Average& average, const std::map<std::string, double>& values) const;
  void move(const Network& network, float rate);
  void share(const Network& network);

  std::vector<Network> networks_;
  bool is_sharded_;
  Communicator& communicator_;
};

}  // namespace kiln
