#pragma once

#include <span>

#include "core/optimizer/optimizer.h"

// The optimizer on tensors of any device, one operation after the other: the specification that the
// host's loops are tested against, and the path of devices without loops of their own.

namespace kiln {

struct TensorUpdate {
  Rule rule = Rule::kAdamW;
  std::span<const RuleScalars> scalars;  // by entry; with trust ratio in the second pass
  double ema_decay = 0.0;
};

void add_squares_of_tensors(const Slice& slice, const at::Tensor& gradient, BlockSums& sums);
void prepare_tensors(const Slice& slice, const at::Tensor& gradient, const TensorUpdate& update,
                     BlockSums& sums);
void step_tensors(const Slice& slice, const at::Tensor& gradient, const TensorUpdate& update);

}  // namespace kiln
