#pragma once

#include <optional>

#include "core/torch.h"
#include "models/kernels/elements.h"

// Between tensors and the loops over host memory in models/kernels.

namespace kiln {

/// Calls function(float{}) or function(Bf16{}), by the type of x.
template <typename Function>
void with_host_type(const at::Tensor& x, const Function& function) {
  x.scalar_type() == at::kFloat ? function(float{}) : function(Bf16{});
}

/// Undefined tensors as autograd functions want them.
inline std::optional<at::Tensor> maybe(const at::Tensor& x) {
  return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
}
inline at::Tensor maybe(const std::optional<at::Tensor>& x) { return x.value_or(at::Tensor()); }

/// Maps [B, C, H, W] with the channels of a pixel side by side.
inline at::Tensor channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

/// Null where the tensor is undefined.
template <typename T>
T* host_data(const at::Tensor& x) {
  return x.defined() ? static_cast<T*>(x.data_ptr()) : nullptr;
}

/// Whether the CUDA kernels take it: fp32 or bf16 on a GPU, in a build with CUDA.
bool runs_in_device_loops(const at::Tensor& x);
bool runs_in_loops(const at::Tensor& x);  // either
/// The current stream of x's device.
void* device_stream(const at::Tensor& x);

/// [N, D] -> [D], in fp32 (fp64 of fp64).
at::Tensor sum_of_columns(const at::Tensor& x);

}  // namespace kiln
