#pragma once

#include <cstdint>

#include "models/measures/knn.h"

namespace kiln {

struct ProbeOptions {
  double weight_decay = 1e-3;  // L2 penalty on the weights, not the biases
  std::int64_t max_iterations = 100;
};

/// A linear classifier on frozen features: features standardised by the training samples' mean and
/// variance (a batch norm without affine part), then softmax regression fitted by L-BFGS over all
/// samples at once. Convex and without random numbers, so the result measures the features alone.
class LinearProbe {
 public:
  static LinearProbe fit(const LabelledFeatures& train, std::int64_t num_classes,
                         const ProbeOptions& options = {});
  /// Class scores [M, classes] of features [M, D].
  at::Tensor scores(const at::Tensor& features) const;
  /// int64 [M]
  at::Tensor predict(const at::Tensor& features) const;

 private:
  at::Tensor standardise(const at::Tensor& features) const;
  at::Tensor mean_, inverse_deviation_;  // [D]
  at::Tensor weight_, bias_;             // [classes, D], [classes]
};

}  // namespace kiln
