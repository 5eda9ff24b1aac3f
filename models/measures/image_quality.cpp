#include "models/measures/image_quality.h"

#include <algorithm>

#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kWindow = 11;
constexpr double kWindowStd = 1.5;

/// Weights of a window of `size` pixels; they sum to 1.
at::Tensor window(std::int64_t size, const at::TensorOptions& options) {
  const double middle = static_cast<double>(size - 1) / 2.0;
  const at::Tensor offset = at::arange(size, options) - middle;
  const at::Tensor weights = (offset.square() / (-2.0 * kWindowStd * kWindowStd)).exp();
  return weights / weights.sum();
}

/// Weighted mean around every pixel whose window lies inside. [N, 1, H, W] -> [N, 1, H', W']
at::Tensor windowed(const at::Tensor& x) {
  const at::Tensor down = window(std::min(kWindow, x.size(2)), x.options());
  const at::Tensor across = window(std::min(kWindow, x.size(3)), x.options());
  return at::conv2d(at::conv2d(x, down.view({1, 1, -1, 1})), across.view({1, 1, 1, -1}));
}

}  // namespace

at::Tensor psnr(const at::Tensor& a, const at::Tensor& b, double most) {
  const at::Tensor mse = (a.to(at::kDouble) - b.to(at::kDouble)).square().flatten(1).mean(1);
  return (mse.log10() * -10.0).clamp_max(most);
}

at::Tensor ssim(const at::Tensor& a, const at::Tensor& b) {
  constexpr double kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;
  const auto planes = [](const at::Tensor& x) {
    return x.to(at::kDouble).reshape({-1, 1, x.size(2), x.size(3)});  // [B C, 1, H, W]
  };
  const at::Tensor x = planes(a), y = planes(b);
  const at::Tensor mean_x = windowed(x), mean_y = windowed(y);
  const at::Tensor variance_x = windowed(x.square()) - mean_x.square();
  const at::Tensor variance_y = windowed(y.square()) - mean_y.square();
  const at::Tensor covariance = windowed(x * y) - mean_x * mean_y;
  const at::Tensor similarity =
      (mean_x * mean_y * 2.0 + kC1) * (covariance * 2.0 + kC2) /
      ((mean_x.square() + mean_y.square() + kC1) * (variance_x + variance_y + kC2));
  return similarity.flatten(1).mean(1).view({a.size(0), a.size(1)}).mean(1);
}

}  // namespace kiln
