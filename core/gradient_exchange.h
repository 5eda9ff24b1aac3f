#pragma once

#include <cstdint>
#include <vector>

#include "core/base/work.h"
#include "core/types.h"

namespace kiln {

/// Turns the gradients of all micro-batches on all ranks into their sum. Implemented in dist/: fast
/// (all-reduce or reduce-scatter of buckets overlapped with backward) and reproducible (one fixed
/// binary tree over micro-batch numbers, the same bits on any number of ranks).
///
/// One step of one phase:
///   exchange.begin_step();
///   for each micro-batch of this rank:
///     exchange.begin(micro_batch, is_last);
///     objective.loss(...)->value.backward();   // hooks see each gradient as it becomes ready
///     exchange.end_micro_batch();
///   exchange.finish();
///   ... optimizer updates owned() ...
///   exchange.share_weights();
class GradientExchange {
 public:
  virtual ~GradientExchange() = default;
  virtual void begin_step() = 0;
  virtual void begin(std::int64_t micro_batch, bool is_last) = 0;
  virtual void end_micro_batch() = 0;
  /// Waits until gradient() is complete. A rank without micro-batches of its own calls only this.
  virtual void finish() = 0;

  /// Ranges of the flat order whose weights this rank updates: whole buckets, or its slices.
  virtual const std::vector<Range>& owned() const = 0;
  /// Sum of the gradients over the global batch in an owned range, fp32, 1-D; valid after finish()
  /// until the next begin_step().
  virtual at::Tensor gradient(Range range) = 0;
  /// Makes updated weights (model precision) equal on all ranks. Nothing to do when replicated.
  virtual void share_weights() = 0;
};

}  // namespace kiln
