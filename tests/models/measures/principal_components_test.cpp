#include "models/measures/principal_components.h"

#include <gtest/gtest.h>

#include "core/torch.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

TEST(PrincipalComponents, FindsTheAxesOfMostVariance) {
  const at::Tensor rows = normal({4000, 3}, 1) * at::tensor({1.0, 5.0, 2.0}) + 7.0;
  const auto found = PrincipalComponents::fit(rows, 2);
  EXPECT_NEAR(found.directions()[1][0].item<double>(), 1.0, 1e-2);
  EXPECT_NEAR(found.directions()[2][1].item<double>(), 1.0, 1e-2);
  const at::Tensor projected = found.project(rows);
  EXPECT_EQ(projected.sizes(), (at::IntArrayRef{4000, 2}));
  EXPECT_LT(projected.mean(0).abs().max().item<double>(), 1e-4);
}

TEST(PrincipalComponents, AllOfThemKeepDistances) {
  const at::Tensor rows = normal({50, 4}, 1);
  const at::Tensor projected = PrincipalComponents::fit(rows, 9).project(rows);
  EXPECT_EQ(projected.size(1), 4);
  EXPECT_LT((at::pdist(projected) - at::pdist(rows)).abs().max().item<double>(), 1e-4);
}

}  // namespace
}  // namespace kiln
