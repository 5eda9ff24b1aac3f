#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

// N samples, D features.

namespace kiln {

/// Mean and covariance of features, added up batch by batch in double.
class FeatureStatistics {
 public:
  explicit FeatureStatistics(std::int64_t dim);
  FeatureStatistics(at::Tensor mean, at::Tensor covariance, std::int64_t count);

  void add(const at::Tensor& features);  // [N, D]
  std::int64_t count() const { return count_; }
  at::Tensor mean() const;        // [D] double
  at::Tensor covariance() const;  // [D, D] double, divisor N - 1

 private:
  // Sums of features minus the first batch's mean, so that no digits are lost.
  at::Tensor shift_, sum_, product_;
  std::int64_t count_ = 0;
};

/// |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): the squared 2-Wasserstein distance of two normal
/// distributions (Heusel et al., arXiv 1706.08500). With Inception features it is called FID.
double frechet_distance(const FeatureStatistics& a, const FeatureStatistics& b);

/// Share of made samples within the real ones' manifold (precision) and of real ones within the
/// made ones' (recall): balls that reach to the k-th neighbour (Kynkaanniemi et al., arXiv
/// 1904.06991).
struct PrecisionRecall {
  double precision = 0.0;
  double recall = 0.0;
};
PrecisionRecall precision_recall(const at::Tensor& real, const at::Tensor& made,
                                 std::int64_t neighbours = 3);

}  // namespace kiln
