#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "core/torch.h"
#include "models/layers/parameters.h"

namespace kiln {

/// A distance between images in [-1, 1] that is nearer to what people see than that of pixels.
/// No part of a model: its weights are neither trained nor saved.
class PerceptualDistance {
 public:
  virtual ~PerceptualDistance() = default;
  /// [B, C, H, W] twice -> [B]
  virtual at::Tensor operator()(const at::Tensor& a, const at::Tensor& b) const = 0;
};

/// LPIPS (Zhang et al., arXiv 1801.03924) on VGG-16: squared differences of unit-length features
/// after relu1_2, 2_2, 3_3, 4_3 and 5_3, weighted per channel and averaged over pixels.
///
/// `file` holds "net.slice{1..5}.{index}.{weight,bias}" and "lin{0..4}.model.1.weight"; other
/// tensors in it are ignored. Images of one channel are repeated to three. Throws
/// Error(kCheckpoint) naming what is missing.
std::unique_ptr<PerceptualDistance> load_lpips(const std::filesystem::path& file,
                                               const at::TensorOptions& options);

/// What stands in where there is no file of features: mean absolute difference of the horizontal
/// and vertical pixel differences at full, half and quarter size, each doubled in weight per
/// halving. It asks for sharp edges in the right places; it knows nothing of textures.
std::unique_ptr<PerceptualDistance> gradient_pyramid();

}  // namespace kiln
