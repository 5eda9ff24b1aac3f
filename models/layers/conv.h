#pragma once

#include <cstdint>

#include "core/torch.h"

// B samples, C channels, H x W pixels. Feature maps [B, C, H, W] keep the memory format they come
// in; channels-last is the quicker one on CPUs and GPUs.

namespace kiln {

/// k x k convolution. Weights [out, in, k, k] are left unset, as in all layers.
struct Conv2d : torch::nn::Module {
  Conv2d(std::int64_t in, std::int64_t out, std::int64_t kernel, const at::TensorOptions& options,
         std::int64_t stride = 1, std::int64_t padding = 0, bool has_bias = true);
  /// By LibTorch's operator where gradients are wanted.
  at::Tensor forward(const at::Tensor& x) const;
  /// By fused_conv() in any case, and without the bias where somebody else adds it.
  at::Tensor forward_trained(const at::Tensor& x, bool is_bias_added = true) const;

  std::int64_t stride, padding;
  at::Tensor weight, bias;
};

/// Group norm over C / groups channels and all pixels; statistics in fp32 whatever the type of x.
struct GroupNorm : torch::nn::Module {
  GroupNorm(std::int64_t groups, std::int64_t channels, double eps,
            const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;
  /// silu(forward(x + shift)), with shift [B, C] for all pixels or undefined.
  at::Tensor forward_silu(const at::Tensor& x, const at::Tensor& shift = {}) const;

  std::int64_t groups;
  double eps;
  at::Tensor weight, bias;
};

/// [B, C, H, W] -> [B, H * W, C]; a view where x is channels-last. from_tokens is the way back, its
/// result channels-last.
at::Tensor to_tokens(const at::Tensor& x);
at::Tensor from_tokens(const at::Tensor& tokens, std::int64_t height, std::int64_t width);

/// Twice the height and width, each pixel repeated.
at::Tensor upsample_nearest(const at::Tensor& x);

}  // namespace kiln
