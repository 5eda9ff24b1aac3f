#include "data/store/host_tensor.h"

#include <ATen/ATen.h>

namespace kiln {

at::Tensor host_tensor(HostType type, const std::vector<std::int64_t>& shape) {
  at::ScalarType scalar = at::kByte;
  if (type == HostType::kInt64) scalar = at::kLong;
  if (type == HostType::kFloat16) scalar = at::kHalf;
  if (type == HostType::kFloat32) scalar = at::kFloat;
  return at::empty(shape, at::TensorOptions().dtype(scalar));
}

}  // namespace kiln
