#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/hash.h"
#include "core/checkpoint/checkpoint.h"
#include "core/communicator.h"
#include "core/gradient_exchange.h"
#include "core/optimizer/flat_parameters.h"
#include "core/optimizer/optimizer.h"

namespace kiln {

using MakeExchange = std::function<std::unique_ptr<GradientExchange>(FlatParameters&)>;
/// Elements of a stored tensor, 1-D: CheckpointReader::read.
using ReadPiece = std::function<at::Tensor(const std::string& name, Range elements)>;

/// One phase of an objective: its parameters in flat memory, the exchange of their gradients, and
/// the optimizer state of what this rank owns, everything (replicated) or its slices (sharded).
class TrainingPhase {
 public:
  struct Options {
    OptimizerOptions optimizer;
    double clip_norm = 0.0;
    bool has_ema = false;
    bool is_sharded = false;
    std::int64_t bucket_bytes = 25 << 20;
  };
  TrainingPhase(std::string name, std::vector<Parameter> parameters, const Options& options,
                const MakeExchange& make_exchange, Communicator& communicator);

  const std::string& name() const { return name_; }
  FlatParameters& flat() { return *flat_; }
  GradientExchange& exchange() { return *exchange_; }
  /// Updates done.
  std::int64_t num_updates() const { return num_updates_; }
  void set_num_updates(std::int64_t number) { num_updates_ = number; }

  /// After exchange().finish(): 2-norm of the whole gradient, the same bits on all ranks. Where a
  /// step waits for a GPU.
  double gradient_norm();
  /// Clips, updates, averages, and makes the weights equal on all ranks. `norm` is that of the
  /// gradient, and finite.
  void update(double norm, double lr, double ema_decay);

  /// Adds the pieces this rank saves: master weights, moving average, moments. Views, not copies.
  void add_pieces(CheckpointState& state) const;
  /// Takes weights and, unless `weights_only`, moving average and moments. With weights_only the
  /// average starts as a copy of the weights.
  void load(const ReadPiece& read, bool weights_only);

  /// Puts the moving average in the weights' place for evaluation, and back. Exact. Collective.
  void swap_in_average();
  void swap_out_average();
  bool has_average() const { return options_.has_ema; }

  /// Of each master weight's fp32 bytes. Collective when sharded.
  void add_digests(std::map<std::string, Digest>& digests) const;

 private:
  /// A part of one tensor that is contiguous in a slice.
  struct Run {
    std::size_t slice = 0;
    std::size_t entry = 0;
    Range elements;           // of the tensor
    std::int64_t offset = 0;  // in the slice
  };
  /// Of part `index` of `parts` equal parts of what this rank owns.
  std::vector<Run> runs(std::int64_t index, std::int64_t parts) const;
  at::Tensor whole_master(std::size_t entry) const;
  void copy_master_to_weights();
  std::vector<at::Tensor> gradients();  // of slices_
  std::vector<double> trust_ratios(const StepScalars& scalars);

  std::string name_;
  Options options_;
  Optimizer optimizer_;
  Communicator& communicator_;
  std::unique_ptr<FlatParameters> flat_;
  std::unique_ptr<GradientExchange> exchange_;
  std::vector<Slice> slices_;
  std::int64_t num_updates_ = 0;
};

}  // namespace kiln
