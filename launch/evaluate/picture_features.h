#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <memory>
#include <string>
#include <vector>

// B pictures, H x W pixels, C channels, D features.

namespace kiln {

/// The space in which pictures are held against each other.
class PictureFeatures {
 public:
  virtual ~PictureFeatures() = default;
  /// uint8 [B, H, W, C] -> fp32 [B, D] on the host.
  virtual at::Tensor operator()(const at::Tensor& pictures) const = 0;
  /// What the features are a function of: two of one id give the same.
  virtual std::string id() const = 0;
  /// Above 0: use this many principal components of the real pictures' features instead.
  virtual std::int64_t num_components() const { return 0; }
};

/// `name`:
///   pixels            32 principal components of the pixels, averaged over squares until there are
///                     at most 1,024 values
///   a TorchScript     a file of the user's, for Inception say: uint8 [B, 3, H, W] -> [B, D]; it is
///   file (.pt)        given return_features = true where it takes that
///   anything else     an encoder of ours: a run, a checkpoint's folder or a Hugging Face folder
///
/// `picture`: H, W, C of the pictures to come. Throws Error(kUsage) where an encoder takes others.
std::unique_ptr<PictureFeatures> open_picture_features(const std::string& name,
                                                       const std::vector<std::int64_t>& picture,
                                                       at::Device device);

}  // namespace kiln
