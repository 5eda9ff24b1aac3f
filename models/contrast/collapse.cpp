#include "models/contrast/collapse.h"

#include <cmath>

#include "core/torch.h"
#include "models/contrast/losses.h"

namespace kiln {

at::Tensor feature_deviation(const at::Tensor& rows) {
  const double scale = std::sqrt(static_cast<double>(rows.size(1)));
  return unit_rows(rows).std(0, /*unbiased=*/false).mean() * scale;
}

at::Tensor effective_rank(const at::Tensor& rows) {
  // Singular values through the smaller Gram matrix: D or N numbers instead of N x D.
  const at::Tensor wide = rows.to(at::kDouble);
  const bool is_tall = rows.size(0) >= rows.size(1);
  const at::Tensor gram = is_tall ? wide.t().matmul(wide) : wide.matmul(wide.t());
  const at::Tensor values = at::linalg_eigvalsh(gram).clamp_min(0.0).sqrt();
  const at::Tensor shares = values / values.sum().clamp_min(1e-300);
  return (-at::xlogy(shares, shares).sum()).exp();
}

at::Tensor mean_entropy(const at::Tensor& probabilities) {
  return -at::xlogy(probabilities, probabilities).sum(1).mean();
}

void add_collapse_metrics(const at::Tensor& rows, ReportedMetrics& metrics) {
  const at::NoGradGuard no_grad;
  const at::Tensor fixed = rows.detach();
  metrics["feature_std"] = {feature_deviation(fixed), 1.0};
  metrics["effective_rank"] = {effective_rank(fixed), 1.0};
}

}  // namespace kiln
