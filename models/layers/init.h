#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/base/philox.h"

// First values of weights. Each tensor draws from a stream of its own, so values depend on the seed
// and the parameter's number alone: not on device, thread count or the tensors before it. Drawn in
// fp32, then rounded to the tensor's type.

namespace kiln {

void fill_xavier_uniform(at::Tensor& tensor,
                         const Philox& stream);  // fans of [out, in...] flattened
void fill_uniform(at::Tensor& tensor, double bound, const Philox& stream);  // on [-bound, bound)
void fill_normal(at::Tensor& tensor, double std, const Philox& stream);
/// Normal, cut off beyond two standard deviations.
void fill_truncated_normal(at::Tensor& tensor, double std, const Philox& stream);

/// The stream of parameter number `index` of a model.
inline Philox init_stream(std::uint64_t seed, std::size_t index) {
  return {seed, Purpose::kInit, static_cast<std::int64_t>(index)};
}

}  // namespace kiln
