#include "models/measures/image_quality.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/base/philox.h"
#include "core/torch.h"

namespace kiln {
namespace {

at::Tensor pictures(std::int64_t count, std::int64_t side, std::int64_t position) {
  const at::Tensor x = at::empty({count, 3, side, side}, at::kFloat);
  fill_uniform(Philox(5, Purpose::kEvaluation, position), x.data_ptr<float>(), x.numel());
  return x;
}

TEST(Psnr, IsTwentyDecibelsForAnErrorOfATenth) {
  const at::Tensor a = at::full({2, 1, 8, 8}, 0.5, at::kDouble);
  const at::Tensor found = psnr(a, a + 0.1);
  EXPECT_NEAR(found[0].item<double>(), 20.0, 1e-12);
  EXPECT_NEAR(found[1].item<double>(), 20.0, 1e-12);
}

TEST(Psnr, EqualPicturesCountAsTheMost) {
  const at::Tensor a = pictures(1, 8, 1);
  EXPECT_EQ(psnr(a, a).item<double>(), 100.0);
}

TEST(Ssim, IsOneForEqualPictures) {
  const at::Tensor a = pictures(2, 16, 1);
  EXPECT_NEAR(ssim(a, a)[0].item<double>(), 1.0, 1e-12);
}

// Without variance only the luminance term is left.
TEST(Ssim, HasTheClosedFormOfConstantPictures) {
  const double x = 0.2, y = 0.7, c1 = 1e-4;
  const at::Tensor a = at::full({1, 3, 16, 16}, x, at::kDouble);
  const at::Tensor b = at::full({1, 3, 16, 16}, y, at::kDouble);
  EXPECT_NEAR(ssim(a, b).item<double>(), (2 * x * y + c1) / (x * x + y * y + c1), 1e-9);
}

// One window of the picture's own size: means, variances and covariance by hand.
TEST(Ssim, MatchesTheFormulaWithinOneWindow) {
  const at::Tensor a = pictures(1, 11, 1).narrow(1, 0, 1).to(at::kDouble);
  const at::Tensor b = (a * 0.5 + pictures(1, 11, 2).narrow(1, 0, 1) * 0.5).to(at::kDouble);
  at::Tensor w = at::empty({11, 11}, at::kDouble);
  for (int i = 0; i < 11; ++i) {
    for (int j = 0; j < 11; ++j) {
      w[i][j] = std::exp(-((i - 5) * (i - 5) + (j - 5) * (j - 5)) / (2 * 1.5 * 1.5));
    }
  }
  w = w / w.sum();
  const auto mean = [&](const at::Tensor& x) { return (x[0][0] * w).sum().item<double>(); };
  const double ma = mean(a), mb = mean(b);
  const double va = mean(a.square()) - ma * ma, vb = mean(b.square()) - mb * mb;
  const double cov = mean(a * b) - ma * mb;
  const double expected =
      (2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4));
  EXPECT_NEAR(ssim(a, b).item<double>(), expected, 1e-12);
}

TEST(Ssim, TakesPicturesSmallerThanItsWindow) {
  const at::Tensor a = pictures(1, 6, 1), b = pictures(1, 6, 2);
  EXPECT_LT(ssim(a, b).item<double>(), 0.5);
  EXPECT_NEAR(ssim(a, b).item<double>(), ssim(b, a).item<double>(), 1e-12);
}

}  // namespace
}  // namespace kiln
