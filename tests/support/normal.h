#pragma once

#include <ATen/ATen.h>

#include "core/base/philox.h"

namespace kiln {

/// Standard normal numbers: the same for the same `number`.
inline at::Tensor normal(at::IntArrayRef shape, std::int64_t number,
                         at::ScalarType type = at::kFloat) {
  const at::Tensor x = at::empty(shape, at::kFloat);
  fill_normal(Philox(3, Purpose::kNoise, number), x.data_ptr<float>(), x.numel());
  return x.to(type);
}

}  // namespace kiln
