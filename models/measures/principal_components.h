#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

// N samples, D values, K components.

namespace kiln {

/// The directions of most variance of a cloud of points: a feature space that needs no network.
class PrincipalComponents {
 public:
  /// Of rows [N, D]; K is cut to D. Computed in double; each direction's largest entry is positive.
  static PrincipalComponents fit(const at::Tensor& rows, std::int64_t k);
  PrincipalComponents(at::Tensor mean, at::Tensor directions);

  at::Tensor project(const at::Tensor& rows) const;             // [M, D] -> [M, K] fp32
  const at::Tensor& mean() const { return mean_; }              // [D] fp64
  const at::Tensor& directions() const { return directions_; }  // [D, K] fp64

 private:
  at::Tensor mean_, directions_;
};

}  // namespace kiln
