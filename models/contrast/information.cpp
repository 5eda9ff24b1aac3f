#include "models/contrast/information.h"

#include <cmath>

#include "core/torch.h"

namespace kiln {

at::Tensor mutual_information(const at::Tensor& joint) {
  const at::Tensor of_x = joint.sum(1), of_y = joint.sum(0);
  return at::xlogy(joint, joint).sum() - at::xlogy(of_x, of_x).sum() - at::xlogy(of_y, of_y).sum();
}

double gaussian_information(double rho) { return -0.5 * std::log1p(-rho * rho); }

at::Tensor gaussian_critic(const at::Tensor& x, const at::Tensor& y, double rho) {
  const double variance = 1.0 - rho * rho;  // of y given x
  const at::Tensor rest = y.unsqueeze(0) - rho * x.unsqueeze(1);
  return gaussian_information(rho) - rest.square() / (2.0 * variance) +
         0.5 * y.square().unsqueeze(0);
}

at::Tensor info_nce_bound(const at::Tensor& scores) {
  const at::Tensor losses = at::logsumexp(scores, {1}) - scores.diagonal();
  return std::log(static_cast<double>(scores.size(0))) - losses.mean();
}

}  // namespace kiln
