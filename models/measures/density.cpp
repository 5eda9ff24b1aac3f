#include "models/measures/density.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kRowsAtATime = 1024;  // of a distance matrix

/// Calls function(distances [R, N], first) for the distances of rows of queries to all data.
template <typename Function>
at::Tensor by_rows(const at::Tensor& data, const at::Tensor& queries, bool leave_out_self,
                   const Function& function) {
  std::vector<at::Tensor> parts;
  for (std::int64_t begin = 0; begin < queries.size(0); begin += kRowsAtATime) {
    const std::int64_t count = std::min(kRowsAtATime, queries.size(0) - begin);
    at::Tensor distances = at::cdist(queries.narrow(0, begin, count), data, 2.0, 2);
    if (leave_out_self) {
      distances.diagonal(begin).fill_(std::numeric_limits<double>::infinity());
    }
    parts.push_back(function(distances));
  }
  return at::cat(parts);
}

}  // namespace

double log_unit_ball(std::int64_t dim) {
  const double half = 0.5 * static_cast<double>(dim);
  return half * std::log(std::numbers::pi) - std::lgamma(half + 1);
}

at::Tensor kernel_log_density(const at::Tensor& data, const at::Tensor& queries, double bandwidth,
                              DensityKernel kernel, bool leave_out_self) {
  if (!(bandwidth > 0.0)) {
    throw usage_error("a kernel's bandwidth is {}; it must be above 0", bandwidth);
  }
  const auto dim = static_cast<double>(data.size(1));
  const auto count = static_cast<double>(data.size(0) - (leave_out_self ? 1 : 0));
  const double log_scale = std::log(count) + dim * std::log(bandwidth);
  return by_rows(data, queries, leave_out_self, [&](const at::Tensor& distances) {
    const at::Tensor u2 = (distances / bandwidth).square();
    if (kernel == DensityKernel::kGaussian) {
      return (u2 * -0.5).logsumexp(1) - log_scale - 0.5 * dim * std::log(2 * std::numbers::pi);
    }
    const double log_constant = std::log(0.5 * (dim + 2)) - log_unit_ball(data.size(1));
    return (1.0 - u2).clamp_min(0.0).sum(1).log() + log_constant - log_scale;
  });
}

double silverman_bandwidth(const at::Tensor& data) {
  const auto n = static_cast<double>(data.size(0)), dim = static_cast<double>(data.size(1));
  return data.std(0).mean().item<double>() * std::pow(4 / ((dim + 2) * n), 1 / (dim + 4));
}

NeighbourDensity neighbour_density(const at::Tensor& data, const at::Tensor& queries,
                                   std::int64_t k, bool leave_out_self) {
  const std::int64_t count = data.size(0) - (leave_out_self ? 1 : 0);
  if (k < 1 || k > count) {
    throw usage_error("the {}-th nearest of {} points: choose 1 to {}", k, count, count);
  }
  NeighbourDensity result;
  result.radius = by_rows(data, queries, leave_out_self, [&](const at::Tensor& distances) {
    return std::get<0>(distances.kthvalue(k, 1));
  });
  result.log_density = std::log(static_cast<double>(k) / static_cast<double>(count)) -
                       log_unit_ball(data.size(1)) -
                       static_cast<double>(data.size(1)) * result.radius.log();
  return result;
}

}  // namespace kiln
