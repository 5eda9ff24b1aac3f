#pragma once

#include "core/torch.h"

namespace kiln {

/// x in fp32, or in fp64 where it is: what losses and statistics are computed in.
inline at::Tensor at_least_fp32(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

}  // namespace kiln
