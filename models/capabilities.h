#pragma once

#include <ATen/core/Tensor.h>

#include "core/types.h"

// What evaluations and pictures ask of an objective, beyond its loss. An objective that offers one
// of these also derives from it; callers find out with dynamic_cast.

namespace kiln {

/// Representations of whole samples for kNN and probes, from all of the input and without
/// gradients.
class FeatureExtractor {
 public:
  virtual ~FeatureExtractor() = default;
  struct Features {
    at::Tensor mean;  // [B, D] fp32: mean over the tokens, without the class token
    at::Tensor cls;   // [B, D] fp32: the class token
  };
  virtual Features features(const Batch& batch) = 0;
};

/// Class scores of whole samples, without gradients.
class Classifier {
 public:
  virtual ~Classifier() = default;
  virtual at::Tensor scores(const Batch& batch) = 0;  // [B, classes] fp32
};

/// Pictures of what a model fills in. All uint8 [B, H, W, C] on the host.
class Reconstructor {
 public:
  virtual ~Reconstructor() = default;
  struct Pictures {
    at::Tensor original;
    at::Tensor masked;         // hidden parts grey; undefined where none are
    at::Tensor reconstructed;  // hidden parts as predicted, the others as they were
  };
  /// `batch` has been through Objective::prepare.
  virtual Pictures reconstruct(const Batch& batch) = 0;
};

}  // namespace kiln
