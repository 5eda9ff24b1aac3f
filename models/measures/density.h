#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

// N data points, Q queries, D values. Double, on the host.

namespace kiln {

enum class DensityKernel { kGaussian, kEpanechnikov };

/// ln of (1 / (N h^D)) sum over data of K((q - x) / h): kernel density estimate (Parzen, 1962) at
/// each query, [Q]; -infinity where no data point reaches. K is the standard normal density, or
/// (D + 2) / (2 V) (1 - |u|^2) within the unit ball of volume V. `leave_out_self`: queries are the
/// data, and each is estimated from the others.
at::Tensor kernel_log_density(const at::Tensor& data, const at::Tensor& queries, double bandwidth,
                              DensityKernel kernel = DensityKernel::kGaussian,
                              bool leave_out_self = false);

/// Silverman's rule for normal data, as one number: the mean deviation of the coordinates times
/// (4 / ((D + 2) N))^(1 / (D + 4)).
double silverman_bandwidth(const at::Tensor& data);

struct NeighbourDensity {
  at::Tensor radius;       // [Q] distance to the k-th nearest data point
  at::Tensor log_density;  // [Q] ln(k / (N V radius^D)), V the volume of the unit ball
};
/// Throws Error(kUsage) for k above N. `leave_out_self` as above, with N - 1 for N.
NeighbourDensity neighbour_density(const at::Tensor& data, const at::Tensor& queries,
                                   std::int64_t k, bool leave_out_self = false);

/// ln of the volume of the unit ball in D dimensions.
double log_unit_ball(std::int64_t dim);

}  // namespace kiln
