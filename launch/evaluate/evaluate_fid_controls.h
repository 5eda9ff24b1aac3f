#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "data/batch_source.h"
#include "launch/generate/picture_maker.h"

namespace kiln {

/// What a latent diffusion model must beat: pictures decoded from latents that no network drew.
class FidControls {
 public:
  /// Fits a normal distribution with full covariance to at most 20,000 of `latents`, drawn from
  /// their moments as in training with `training_seed`.
  FidControls(const PictureMaker& maker, const BatchSource& latents, std::uint64_t seed,
              std::uint64_t training_seed);

  /// Pictures number first .. first + batch - 1 of latents from N(0, I) in the model's own scale.
  PictureMaker::Made from_noise(std::int64_t first) const;
  /// The same from the fitted distribution.
  PictureMaker::Made from_normal(std::int64_t first) const;

 private:
  at::Tensor noise(std::int64_t first) const;  // [batch, D] fp64
  PictureMaker::Made decoded(const at::Tensor& rows) const;

  const PictureMaker& maker_;
  std::uint64_t seed_;
  at::Tensor mean_, root_;  // [D], [D, D]: root_^2 is the covariance
};

}  // namespace kiln
