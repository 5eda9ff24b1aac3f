#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
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
    bool clips_tensors = false;  // each by its own norm
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

  /// After exchange().finish(): 2-norm of the whole gradient, the same bits on all ranks. Where a
  /// step waits for a GPU.
  double gradient_norm();
  struct Update {
    double norm = 0.0;  // gradient_norm(), finite
    double lr = 0.0;
    std::optional<double> weight_decay = {};  // in place of the optimizer's
    double ema_decay = 0.0;
    std::int64_t samples_seen = 0;  // before the step
  };
  /// Clips, updates, averages, and makes the weights equal on all ranks.
  void update(const Update& update);

  /// Keeps what update() changes, until undo() puts it back. undo() is collective when sharded.
  void keep();
  void undo();

  /// After somebody else has set the weights: the optimizer goes on from them, and the moving
  /// average begins with them.
  void take_weights();

  /// Adds the pieces this rank saves: master weights, moving average, moments. Views, not copies.
  /// And the numbers of updates.
  void add_pieces(CheckpointState& state) const;
  /// Takes weights and, unless `weights_only`, moving average and moments. With weights_only the
  /// average starts as a copy of the weights.
  void load(const ReadPiece& read, bool weights_only);
  void load_counts(const std::map<std::string, std::int64_t>& extra);

  /// fp32 master weights of a range of the flat order within one owned slice.
  at::Tensor master(Range range) const;

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
  std::vector<double> clip_factors() const;
  std::vector<std::int64_t> own_updates(std::int64_t samples_seen);
  std::vector<at::Tensor> state() const;  // all that an update changes, of slices_

  std::string name_;
  Options options_;
  Optimizer optimizer_;
  Communicator& communicator_;
  std::unique_ptr<FlatParameters> flat_;
  std::unique_ptr<GradientExchange> exchange_;
  std::vector<Slice> slices_;
  std::vector<double> squares_;  // of the gradient, by entry: gradient_norm()
  std::int64_t num_updates_ = 0;
  /// By entry: updates of the phase that went by while it was frozen.
  std::vector<std::int64_t> num_frozen_;
  bool has_frozen_ = false;

  struct Kept {
    std::vector<at::Tensor> state;
    std::int64_t num_updates = 0;
    std::vector<std::int64_t> num_frozen;
  };
  Kept kept_;
};

}  // namespace kiln
