#include "models/measures/principal_components.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"
#include "models/measures/frechet.h"

namespace kiln {
namespace {

constexpr std::int64_t kRowsAtATime = 4096;

}  // namespace

PrincipalComponents::PrincipalComponents(at::Tensor mean, at::Tensor directions)
    : mean_(std::move(mean)), directions_(std::move(directions)) {}

PrincipalComponents PrincipalComponents::fit(const at::Tensor& rows, std::int64_t k) {
  KILN_CHECK(rows.size(0) > 1 && k > 0, "{} components of {} rows", k, rows.size(0));
  FeatureStatistics statistics(rows.size(1));
  for (std::int64_t begin = 0; begin < rows.size(0); begin += kRowsAtATime) {
    statistics.add(rows.narrow(0, begin, std::min(kRowsAtATime, rows.size(0) - begin)));
  }
  const auto [values, vectors] = at::linalg_eigh(statistics.covariance());  // ascending
  const std::int64_t count = std::min(k, rows.size(1));
  at::Tensor directions = vectors.narrow(1, rows.size(1) - count, count).flip({1});
  // Eigenvectors are known up to their sign.
  const at::Tensor largest = directions.abs().argmax(0, /*keepdim=*/true);
  directions = directions * directions.gather(0, largest).sign();
  return {statistics.mean(), directions.contiguous()};
}

at::Tensor PrincipalComponents::project(const at::Tensor& rows) const {
  return (rows.to(at::kDouble) - mean_).mm(directions_).to(at::kFloat);
}

}  // namespace kiln
