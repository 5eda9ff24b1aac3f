#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "core/device/device_copies.h"
#include "core/objective.h"
#include "core/types.h"

// Sums over the micro-batches of all ranks in the order of their numbers. Each rank writes its own
// rows into a table that is zero elsewhere; adding the tables of all ranks is exact, and the rows
// are then added in order. So the results have the same bits on any number of ranks.

namespace kiln {

/// Losses and metrics of one phase in one step.
class MetricTable {
 public:
  struct Result {
    double loss = 0.0;                      // mean over the global batch
    std::map<std::string, double> metrics;  // sum / weight
    std::vector<double> losses;             // by micro-batch: its share of the loss
  };

  MetricTable(Communicator& communicator, std::int64_t num_micro_batches);

  void begin_step() {
    losses_.clear();
    whole_.reset();
  }
  /// Does not wait for a device. Every loss of a phase has metrics of the same names.
  void add(std::int64_t micro_batch, const Loss& loss);
  /// In place of all add(): the loss of the whole step, the same on all ranks. Its metrics are sums
  /// over the global batch.
  void set_whole(const Loss& loss);
  /// After the last add(): values set out for the host, all at once, so that whoever waits for what
  /// the device is given next has waited for them too.
  void end_step();
  /// Every rank calls it, also one without micro-batches.
  Result reduce();

 private:
  void agree_on_names();
  Result whole_result() const;

  Communicator& communicator_;
  std::int64_t num_micro_batches_;
  std::map<std::int64_t, Loss> losses_;
  std::optional<Loss> whole_;
  HostCopy values_;  // fp64: by micro-batch the loss, then the metrics in the order of their names
  bool has_names_ = false;
  std::vector<std::string> names_;
};

/// Contributions to Objective::after_step, in fp64.
class OrderedSums {
 public:
  OrderedSums(Communicator& communicator, std::int64_t num_micro_batches);
  void begin_step() { sums_.clear(); }
  void add(std::int64_t micro_batch, const Sums& sums);
  bool is_empty() const { return sums_.empty(); }
  /// One collective. `like` gives names and shapes where this rank added nothing.
  Sums reduce(const Sums& like);

 private:
  Communicator& communicator_;
  std::int64_t num_micro_batches_;
  std::map<std::int64_t, std::map<std::string, HostCopy>> sums_;
};

}  // namespace kiln
