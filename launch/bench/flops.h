#pragma once

#include <cstdint>
#include <vector>

#include "core/objective.h"

namespace kiln {

/// A matrix product [m, k] x [k, n] that one forward pass does `count` times.
struct GemmShape {
  std::int64_t m = 0, n = 0, k = 0;
  double count = 1;
};

/// What training one sample costs, and the products that most of it is made of.
struct TrainingWork {
  /// Forward and backward (three times forward), matrix products and attention only; 0: unknown.
  double flops_per_sample = 0.0;
  std::vector<GemmShape> gemms;  // of one micro-batch, forward
};

TrainingWork workload_of(Objective& objective, std::int64_t micro_batch);

}  // namespace kiln
