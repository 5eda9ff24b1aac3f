#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/communicator.h"
#include "core/gradient_exchange.h"
#include "core/objective.h"
#include "core/training/ordered_sums.h"
#include "core/training/row_gather.h"

namespace kiln {

/// Forward and backward of one step of a coupled phase: a loss over the rows of the whole global
/// batch, with the memory of one micro-batch's graph.
///
///   1. embed() of each micro-batch of this rank, the first of them last: its graph is kept
///   2. the rows of all ranks, in the order of micro-batches
///   3. couple(), once, on detached rows: the loss L and dL/drows, the same bits on every rank
///   4. for each micro-batch in order: embed() again (not for the first), and the backward pass of
///      <rows, dL/drows>, whose gradient is the micro-batch's part of that of L
///
/// Since what is random in embed() follows from positions, the second pass gives the bits of the
/// first, which runs with gradients switched on for the same reason. Sums are taken in 1 alone.
///
/// Thread safety: one thread.
class CoupledPass {
 public:
  /// All must outlive it. `host` is for host tensors, `communicator` for those on the device.
  CoupledPass(Objective& objective, std::size_t phase, GradientExchange& exchange,
              Communicator& host, Communicator& communicator, std::int64_t num_micro_batches);

  /// `batches`: this rank's, at least one. Adds their gradients; gives `sums` their contributions.
  /// The loss is that of the step.
  Loss run(const std::vector<Batch>& batches, const StepContext& context, OrderedSums& sums);

  /// What couple() was given in the last run(), detached.
  const Rows& rows() const { return rows_; }

 private:
  Rows embed_all(const std::vector<Batch>& batches, const StepContext& context, OrderedSums& sums);
  Loss couple(const Rows& live, const StepContext& context);
  void backward(const Rows& rows, std::int64_t micro_batch);

  Objective& objective_;
  const std::size_t phase_;
  GradientExchange& exchange_;
  RowGather gather_;
  Rows rows_;
  Rows gradients_;  // dL/drows of the rows that have one
};

}  // namespace kiln
