#pragma once

#include <ATen/core/Tensor.h>

// B pictures, C channels, H x W pixels. Values in [0, 1].

namespace kiln {

/// Peak signal-to-noise ratio in decibels, 10 log10(1 / mean squared error). Equal pictures count
/// as `most`.  [B, C, H, W] twice -> [B]
at::Tensor psnr(const at::Tensor& a, const at::Tensor& b, double most = 100.0);

/// Structural similarity (Wang et al., 2004): Gaussian windows of 11 x 11 pixels with standard
/// deviation 1.5 that lie wholly inside, K = (0.01, 0.03), mean over windows and channels. Smaller
/// pictures have one window of their own size.  [B, C, H, W] twice -> [B]
at::Tensor ssim(const at::Tensor& a, const at::Tensor& b);

}  // namespace kiln
