#include "models/measures/frechet.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/torch.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

TEST(FrechetDistance, HasTheClosedFormOfDiagonalNormals) {
  const FeatureStatistics a(at::tensor({0.0, 1.0}, at::kDouble),
                            at::diag(at::tensor({1.0, 4.0}, at::kDouble)), 100);
  const FeatureStatistics b(at::tensor({0.5, -1.0}, at::kDouble),
                            at::diag(at::tensor({2.25, 1.0}, at::kDouble)), 100);
  EXPECT_NEAR(frechet_distance(a, b), 5.5, 1e-12);
}

TEST(FrechetDistance, IsZeroToItselfAndSymmetric) {
  FeatureStatistics a(5), b(5);
  a.add(normal({200, 5}, 1, at::kDouble));
  b.add(normal({200, 5}, 2, at::kDouble) * 2.0 + 1.0);
  EXPECT_NEAR(frechet_distance(a, a), 0.0, 1e-9);
  EXPECT_NEAR(frechet_distance(a, b), frechet_distance(b, a), 1e-9);
}

TEST(FrechetDistance, DoesNotChangeUnderRotation) {
  const at::Tensor x = normal({300, 3}, 1, at::kDouble),
                   y = normal({300, 3}, 2, at::kDouble) * at::tensor({1.0, 2.0, 3.0});
  const at::Tensor rotation = std::get<0>(at::linalg_qr(normal({3, 3}, 3, at::kDouble)));
  const auto distance = [](const at::Tensor& p, const at::Tensor& q) {
    FeatureStatistics a(3), b(3);
    a.add(p);
    b.add(q);
    return frechet_distance(a, b);
  };
  EXPECT_NEAR(distance(x, y), distance(x.mm(rotation), y.mm(rotation)), 1e-9);
}

TEST(FeatureStatistics, AddUpOverBatches) {
  const at::Tensor x = normal({64, 4}, 1, at::kDouble) + 1e4;
  FeatureStatistics parts(4);
  parts.add(x.narrow(0, 0, 10));
  parts.add(x.narrow(0, 10, 54));
  EXPECT_TRUE(parts.mean().allclose(x.mean(0), 1e-12, 1e-9));
  EXPECT_TRUE(parts.covariance().allclose(x.t().cov(), 1e-9, 1e-9));
}

TEST(PrecisionRecall, TellFidelityFromCoverage) {
  const at::Tensor real = at::cat(
      {normal({200, 2}, 1, at::kDouble) * 0.1 - 3.0, normal({200, 2}, 2, at::kDouble) * 0.1 + 3.0});
  const at::Tensor one_mode = normal({200, 2}, 3, at::kDouble) * 0.1 - 3.0;
  const PrecisionRecall result = precision_recall(real, one_mode);
  EXPECT_GT(result.precision, 0.9);
  EXPECT_NEAR(result.recall, 0.5, 0.1);
  const PrecisionRecall apart =
      precision_recall(real, normal({200, 2}, 4, at::kDouble) * 0.1 + 50.0);
  EXPECT_EQ(apart.precision, 0.0);
  EXPECT_EQ(apart.recall, 0.0);
}

}  // namespace
}  // namespace kiln
