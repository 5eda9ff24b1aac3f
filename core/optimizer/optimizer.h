#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/optimizer/flat_parameters.h"
#include "core/optimizer/optimizer_kernels.h"
#include "core/recipe/recipe.h"

namespace kiln {

/// A range of the flat order with all that is kept for it. All tensors are 1-D, contiguous and
/// range.size() long.
struct Slice {
  Range range;  // both ends multiples of FlatParameters::kBlock
  std::vector<FlatParameters::Segment> segments;
  at::Tensor master;                // fp32
  at::Tensor weights;               // model precision; fp32: the same memory as master
  std::vector<at::Tensor> moments;  // fp32, as Optimizer::moment_names()
  at::Tensor ema;                   // fp32; undefined without moving average
};

/// Partial sums of a model, one row of FlatParameters::num_sums() per quantity: each rank fills in
/// those of its own segments, the others stay zero, so that adding up the tables of all ranks is
/// exact and gives the same bits for any number of ranks.
///
/// They are filled in on the model's device. The first read copies the whole table to the host.
class BlockSums {
 public:
  BlockSums(const FlatParameters& flat, std::int64_t rows);
  /// [num_sums] fp64 on the model's device, to be filled in.
  at::Tensor row(std::int64_t index) const { return sums_.select(0, index); }
  /// [rows, num_sums] on the host: waits for a device. Nothing is filled in from then on.
  at::Tensor& table();
  /// Segments of each tensor added in order.
  std::vector<double> by_entry(std::int64_t row);
  /// Tensors added in order.
  double total(std::int64_t row);

 private:
  const FlatParameters& flat_;
  at::Tensor sums_;
  at::Tensor table_;  // undefined until it is read
};

/// Squares of a gradient, into row 0.
void add_squares(const Slice& slice, const at::Tensor& gradient, BlockSums& sums);

/// min(1, clip_norm / (norm + 1e-6)), as PyTorch clips; 1 when clip_norm is 0 (off).
double clip_factor(double norm, double clip_norm);

/// What changes from step to step. Spans are by entry of FlatParameters.
struct StepScalars {
  double lr = 0.0;
  double gradient_scale = 1.0;                   // clip_factor()
  std::span<const double> gradient_scales = {};  // in its place, where not empty
  std::int64_t update = 1;                       // number of this update of the phase, from 1
  /// In its place, where not empty: number of each entry's own update; 0: the entry is frozen.
  std::span<const std::int64_t> updates = {};
  std::optional<double> weight_decay = {};  // in place of the option
  double ema_decay = 0.0;
};

/// AdamW, Adam, Adamax, RMSprop, Google's BERT-Adam, LAMB, LARS, LARC, SGD with momentum over flat
/// slices. It does not know ranks and keeps no state: the slices hold it. One update:
///
///   if has_trust_ratio():  prepare(slices); [sums of all ranks]; trust_ratios(sums)
///   step(slices, ratios)
///
/// gradients[i] is that of slices[i]. All slices may be given at once or one by one.
///
/// step() does clipping, moments, decay, update, bound, bf16 copy and moving average in one pass
/// over memory. Element-wise results do not depend on slices, buckets, ranks or threads.
class Optimizer {
 public:
  /// kByDevice: loops over memory on the host, tensor operations
  /// (core/optimizer/optimizer_tensors.h) elsewhere.
  enum class Path { kByDevice, kTensors };
  explicit Optimizer(const OptimizerOptions& options, Path path = Path::kByDevice);

  /// Names under which checkpoints hold the moments, e.g. {"exp_avg", "exp_avg_sq"}.
  const std::vector<std::string>& moment_names() const { return moment_names_; }
  bool has_trust_ratio() const { return kiln::has_trust_ratio(rule_); }
  /// The names of all optimizers.
  static std::vector<std::string> names();

  /// Row 0 of sums: |p|^2, row 1: |u|^2.
  void prepare(std::span<const Slice> slices, std::span<const at::Tensor> gradients,
               const FlatParameters& flat, const StepScalars& scalars, BlockSums& sums) const;
  void prepare(const Slice& slice, const at::Tensor& gradient, const FlatParameters& flat,
               const StepScalars& scalars, BlockSums& sums) const {
    prepare({&slice, 1}, {&gradient, 1}, flat, scalars, sums);
  }
  /// Per entry; 1 for entries without decay and where either norm is 0. Of LARC, all entries have
  /// one, and 0 stands for those without a norm.
  std::vector<double> trust_ratios(const FlatParameters& flat, const StepScalars& scalars,
                                   BlockSums& sums) const;
  /// `ratios` is empty for rules without trust ratio.
  void step(std::span<const Slice> slices, std::span<const at::Tensor> gradients,
            const FlatParameters& flat, const StepScalars& scalars,
            std::span<const double> ratios) const;
  void step(const Slice& slice, const at::Tensor& gradient, const FlatParameters& flat,
            const StepScalars& scalars, std::span<const double> ratios) const {
    step({&slice, 1}, {&gradient, 1}, flat, scalars, ratios);
  }

 private:
  double weight_decay(const StepScalars& scalars) const;
  RuleScalars scalars_of(const FlatParameters::Entry& entry, const StepScalars& scalars,
                         std::int64_t update) const;
  void set_trust_ratio(RuleScalars& scalars, double lr, double ratio) const;
  std::vector<RuleScalars> scalars_by_entry(const FlatParameters& flat, const StepScalars& scalars,
                                            std::span<const double> ratios) const;

  bool uses_tensors(const Slice& slice) const;
  bool uses_gpu_kernels(const Slice& slice) const;

  OptimizerOptions options_;
  Path path_;
  Rule rule_;
  std::vector<std::string> moment_names_;
};

}  // namespace kiln
