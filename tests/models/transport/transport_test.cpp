#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/torch.h"
#include "models/transport/line.h"
#include "models/transport/point_transport.h"
#include "models/transport/sinkhorn.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

std::vector<double> to_vector(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous().view({-1});
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

CostMatrix matrix_of(const at::Tensor& cost) {
  return {cost.const_data_ptr<double>(), cost.size(0), cost.size(1)};
}

at::Tensor random_weights(std::int64_t count, std::uint64_t seed) {
  const at::Tensor weights = normal({count}, seed, at::kDouble).abs() + 0.01;
  return weights / weights.sum();
}

double wasserstein(const at::Tensor& x, const at::Tensor& y, double p) {
  return std::pow(solve_transport(transport_costs(x, y, p), {}, {}).cost, 1.0 / p);
}

TEST(Transport, HasTheValueAndThePotentialsOfASmallProblem) {
  // p = {0: 1/2, 1: 1/4, 3: 1/4}, q = {1: 1/2, 2: 1/2}: W1 = 1 by hand.
  const at::Tensor x = at::tensor({0.0, 1.0, 3.0}, at::kDouble).unsqueeze(1);
  const at::Tensor y = at::tensor({1.0, 2.0}, at::kDouble).unsqueeze(1);
  const TransportPlan plan =
      solve_transport(transport_costs(x, y, 1.0), at::tensor({0.5, 0.25, 0.25}, at::kDouble),
                      at::tensor({0.5, 0.5}, at::kDouble));
  EXPECT_NEAR(plan.cost, 1.0, 1e-15);
  EXPECT_NEAR(plan.dual, 1.0, 1e-15);
  // The potential f(0, 1, 2, 3) = (0, -1, -2, -1) of the Kantorovich-Rubinstein dual reaches it.
  EXPECT_NEAR(0.5 * 0 + 0.25 * -1 + 0.25 * -1 - (0.5 * -1 + 0.5 * -2), plan.cost, 1e-15);
}

TEST(Transport, EqualsItsDualAndTheSortedSolverOnALine) {
  for (const auto& [n, m] : {std::pair{40, 40}, {37, 64}, {90, 11}}) {
    for (const double p : {1.0, 2.0, 3.0}) {
      const at::Tensor x = normal({n, 1}, 1, at::kDouble), y = normal({m, 1}, 2, at::kDouble) * 2.0;
      const at::Tensor a = random_weights(n, 3), b = random_weights(m, 4);
      const TransportPlan plan = solve_transport(transport_costs(x, y, p), a, b);
      const std::vector<double> xs = to_vector(x), ys = to_vector(y), as = to_vector(a),
                                bs = to_vector(b);
      const double sorted = line_transport({xs, as}, {ys, bs}, p);
      EXPECT_NEAR(plan.cost, sorted, 1e-12 * sorted);
      EXPECT_NEAR(plan.gap(), 0.0, 1e-12 * sorted);
    }
  }
}

TEST(Transport, PlansHaveTheirMarginalsAndPotentialsAreFeasible) {
  const at::Tensor cost = normal({60, 45}, 1, at::kDouble).contiguous();  // some are negative
  const at::Tensor a = random_weights(60, 2), b = random_weights(45, 3);
  const TransportPlan plan = solve_transport(cost, a, b);
  const at::Tensor masses = plan_matrix(plan, 60, 45);
  EXPECT_TRUE(masses.sum(1).allclose(a, 0.0, 1e-14));
  EXPECT_TRUE(masses.sum(0).allclose(b, 0.0, 1e-14));
  EXPECT_LE(std::ssize(plan.shipments), 60 + 45 - 1);
  const at::Tensor f = at::tensor(plan.f, at::kDouble), g = at::tensor(plan.g, at::kDouble);
  EXPECT_GE((cost - f.unsqueeze(1) - g).min().item<double>(), -1e-13);
  EXPECT_NEAR(plan.gap(), 0.0, 1e-13);
}

TEST(Transport, OfEqualWeightsMovesWholePoints) {
  const at::Tensor x = normal({200, 3}, 1, at::kDouble), y = normal({200, 3}, 2, at::kDouble);
  const TransportPlan plan = solve_transport(transport_costs(x, y, 2.0), {}, {});
  EXPECT_EQ(plan.shipments.size(), 200u);
  for (const Shipment& shipment : plan.shipments) EXPECT_DOUBLE_EQ(shipment.mass, 1.0 / 200);
}

TEST(Transport, LeavesOutPointsWithoutMass) {
  const at::Tensor cost = normal({5, 6}, 1, at::kDouble).contiguous();
  const at::Tensor a = at::tensor({0.5, 0.0, 0.25, 0.25, 0.0}, at::kDouble);
  const at::Tensor b = at::tensor({0.0, 0.5, 0.0, 0.125, 0.375, 0.0}, at::kDouble);
  const TransportPlan plan = solve_transport(cost, a, b);
  const at::Tensor rows = at::tensor({0, 2, 3}), cols = at::tensor({1, 3, 4});
  const TransportPlan small =
      solve_transport(cost.index_select(0, rows).index_select(1, cols).contiguous(),
                      a.index_select(0, rows), b.index_select(0, cols));
  EXPECT_NEAR(plan.cost, small.cost, 1e-15);
  const at::Tensor f = at::tensor(plan.f, at::kDouble), g = at::tensor(plan.g, at::kDouble);
  EXPECT_GE((cost - f.unsqueeze(1) - g).min().item<double>(), -1e-13);
  EXPECT_NEAR(plan.gap(), 0.0, 1e-13);
}

TEST(Transport, IsExactWhereAllPlansCostTheSame) {
  // Constant costs: every basis is degenerate or optimal, and nothing may circle for ever.
  const TransportPlan plan = solve_transport(at::full({50, 50}, 3.0, at::kDouble), {}, {});
  EXPECT_NEAR(plan.cost, 3.0, 1e-14);
  const at::Tensor grid = at::arange(100, at::kDouble).div(10, "floor").unsqueeze(1);
  EXPECT_EQ(wasserstein(grid, grid, 1.0), 0.0);
}

TEST(Transport, ObeysTheTriangleInequality) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const at::Tensor x = normal({30, 2}, 3 * seed, at::kDouble),
                     y = normal({25, 2}, 3 * seed + 1, at::kDouble) + 0.5,
                     z = normal({35, 2}, 3 * seed + 2, at::kDouble) * 1.5;
    for (const double p : {1.0, 2.0}) {
      EXPECT_LE(wasserstein(x, z, p), wasserstein(x, y, p) + wasserstein(y, z, p) + 1e-12);
    }
  }
}

TEST(Transport, RefusesWhatIsNoProblem) {
  const at::Tensor cost = at::ones({2, 2}, at::kDouble);
  const at::Tensor half = at::tensor({0.5, 0.5}, at::kDouble);
  EXPECT_THROW(solve_transport(cost, half, at::tensor({0.5, 0.6}, at::kDouble)), Error);
  EXPECT_THROW(solve_transport(cost, at::tensor({1.5, -0.5}, at::kDouble), half), Error);
  EXPECT_THROW(solve_transport(cost, at::zeros({2}, at::kDouble), at::zeros({2}, at::kDouble)),
               Error);
  EXPECT_THROW(solve_transport(cost / 0.0, half, half), Error);
  EXPECT_THROW(sinkhorn(matrix_of(cost), to_vector(half), to_vector(half), {.epsilon = 0.0}),
               Error);
}

TEST(Sinkhorn, FallsToTheExactCostAsEpsilonDoes) {
  const at::Tensor x = normal({40, 2}, 1, at::kDouble), y = normal({30, 2}, 2, at::kDouble) + 1.0;
  const at::Tensor cost = transport_costs(x, y, 2.0);
  const std::vector<double> a(40, 1.0 / 40), b(30, 1.0 / 30);
  const double exact = solve_transport(cost, {}, {}).cost;
  double last = std::numeric_limits<double>::infinity();
  for (const double epsilon : {4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125}) {
    const SinkhornPlan plan = sinkhorn(
        matrix_of(cost), a, b, {.epsilon = epsilon, .tolerance = 1e-9, .max_iterations = 100'000});
    ASSERT_TRUE(plan.has_converged);
    EXPECT_GE(plan.cost, exact - 1e-6);
    EXPECT_LT(plan.cost, last);
    last = plan.cost;
  }
  EXPECT_NEAR(last, exact, 0.01 * exact);
}

TEST(Sinkhorn, WorksFarBelowTheRangeOfExponentials) {
  // exp(-cost / epsilon) is zero for all of them; the log domain does not mind.
  const at::Tensor x = normal({30, 2}, 1, at::kDouble), y = normal({30, 2}, 2, at::kDouble) + 50.0;
  const at::Tensor cost = transport_costs(x, y, 2.0);
  const std::vector<double> a(30, 1.0 / 30);
  const SinkhornPlan plan = sinkhorn(matrix_of(cost), a, a,
                                     {.epsilon = 0.5, .tolerance = 1e-9, .max_iterations = 50'000});
  EXPECT_TRUE(plan.has_converged);
  EXPECT_NEAR(plan.cost, solve_transport(cost, {}, {}).cost, 1.0);
}

TEST(Sinkhorn, HasTheSameBitsOnAnyNumberOfThreads) {
  const at::Tensor x = normal({300, 2}, 1, at::kDouble), y = normal({500, 2}, 2, at::kDouble);
  const at::Tensor cost = transport_costs(x, y, 2.0);
  const std::vector<double> a(300, 1.0 / 300), b(500, 1.0 / 500);
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    return sinkhorn(matrix_of(cost), a, b,
                    {.epsilon = 0.05, .tolerance = 0.0, .max_iterations = 50});
  };
  const SinkhornPlan one = run(1), three = run(3);
  EXPECT_EQ(one.f, three.f);
  EXPECT_EQ(one.g, three.g);
  EXPECT_EQ(one.errors, three.errors);
}

TEST(SlicedTransport, IsThatOfALineInOneDimension) {
  const at::Tensor x = normal({50, 1}, 1, at::kDouble), y = normal({50, 1}, 2, at::kDouble) + 1.0;
  const at::Tensor sliced = sliced_transport(x, y, random_directions(4, 1, 0), 2.0);
  const double exact = solve_transport(transport_costs(x, y, 2.0), {}, {}).cost;
  EXPECT_TRUE(sliced.allclose(at::full({4}, exact, at::kDouble), 0.0, 1e-12));
}

}  // namespace
}  // namespace kiln
