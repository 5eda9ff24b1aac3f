#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kiln {

/// Features of labelled samples: [N, D] and int64 [N].
struct LabelledFeatures {
  at::Tensor features;
  at::Tensor labels;
};

struct KnnOptions {
  std::int64_t k = 20;
  double temperature = 0.07;
};

/// Predicted class of each row of `queries` [M, D]: int64 [M].
///
/// The k nearest training samples by cosine vote with weight exp(cosine / temperature) (Wu et al.,
/// arXiv:1805.01978, as DINO evaluates). k is cut to the number of training samples.
at::Tensor knn_predict(const LabelledFeatures& train, const at::Tensor& queries,
                       std::int64_t num_classes, const KnnOptions& options = {});

/// Share of rows where `predicted` equals `labels`.
double accuracy(const at::Tensor& predicted, const at::Tensor& labels);

}  // namespace kiln
