#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

// B samples, H x W pixels, C channels, p patch side, L = (H / p) * (W / p) patches in row-major
// order.

namespace kiln {

/// [B, H, W, C] -> [B, L, p * p * C], pixels of a patch in the order row, column, channel. Any
/// type; contiguous result. H and W are multiples of p.
at::Tensor patchify(const at::Tensor& images, std::int64_t patch);

/// Inverse of patchify.
at::Tensor unpatchify(const at::Tensor& patches, std::int64_t patch, std::int64_t height,
                      std::int64_t width);

/// Per-channel normalisation of pixels, (value / 255 - mean) / std for uint8 ones, which are what
/// datasets hold. Works on any tensor whose last dimension cycles through the channels: images
/// [.., C] and patches [.., p * p * C] alike.
class PixelNormalisation {
 public:
  /// Empty: mean 0 and std 1.
  PixelNormalisation(std::vector<double> mean, std::vector<double> std);

  /// uint8 -> fp32. Floating-point pixels count as normalised already and pass unchanged.
  at::Tensor normalise(const at::Tensor& pixels) const;
  /// Back to uint8, clamped to [0, 255].
  at::Tensor to_uint8(const at::Tensor& normalised) const;

  /// One value, or one per channel. A uint8 value becomes value * scale + shift.
  const std::vector<double>& mean() const { return mean_; }
  const std::vector<double>& std() const { return std_; }
  const std::vector<double>& scale() const { return scale_; }
  const std::vector<double>& shift() const { return shift_; }

 private:
  at::Tensor cycle(const std::vector<double>& per_channel, const at::Tensor& like) const;
  std::vector<double> mean_, std_, scale_, shift_;
};

}  // namespace kiln
