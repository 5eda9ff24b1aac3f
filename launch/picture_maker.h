#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "launch/loaded_model.h"
#include "launch/sample.h"

namespace kiln {

class AutoencoderObjective;

/// A diffusion model with what turns its samples into pictures. Throws Error(kUsage) before any
/// work is done for what cannot be: no diffusion model, a sampler that does not fit, a class beyond
/// the table, an autoencoder that is missing or another than the latents'.
class PictureMaker {
 public:
  PictureMaker(const SampleWords& words, at::Device device);
  ~PictureMaker();

  struct Made {
    at::Tensor pictures;               // uint8 [batch, H, W, C] on the host
    std::vector<std::int64_t> labels;  // empty without classes
  };
  /// Pictures number first .. first + batch - 1.
  Made make(std::int64_t first);

  std::int64_t batch() const { return batch_; }
  std::vector<std::int64_t> shape_of(std::int64_t num) const;  // [num, H, W, C]
  bool has_labels() const;
  std::int64_t num_classes() const;
  const GenerateOptions& options() const { return options_; }

 private:
  std::vector<std::int64_t> labels_from(std::int64_t first) const;
  at::Tensor decoded(const at::Tensor& x) const;

  LoadedModel loaded_, loaded_autoencoder_;
  LatentDiffusion* model_ = nullptr;             // within loaded_
  AutoencoderObjective* autoencoder_ = nullptr;  // within loaded_autoencoder_; null for pixels
  GenerateOptions options_;
  std::int64_t batch_, label_;
  at::Device device_;
};

}  // namespace kiln
