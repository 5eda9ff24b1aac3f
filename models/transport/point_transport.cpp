#include "models/transport/point_transport.h"

#include <cmath>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/device/in_parallel.h"
#include "core/torch.h"
#include "models/transport/line.h"

namespace kiln {
namespace {

std::span<const double> values_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  KILN_CHECK(tensor.scalar_type() == at::kDouble && tensor.is_contiguous(),
             "points and weights are contiguous doubles");
  return {tensor.const_data_ptr<double>(), static_cast<std::size_t>(tensor.numel())};
}

at::Tensor weights_or_equal(const at::Tensor& weights, std::int64_t count) {
  if (weights.defined()) return weights;
  return at::full({count}, 1.0 / static_cast<double>(count), at::kDouble);
}

}  // namespace

at::Tensor transport_costs(const at::Tensor& x, const at::Tensor& y, double p) {
  // By differences, not by |x|^2 + |y|^2 - 2 x y, which loses the digits of small distances.
  const at::Tensor distances = at::cdist(x, y, 2.0, 2);
  return (p == 1.0 ? distances : distances.pow(p)).contiguous();
}

TransportPlan solve_transport(const at::Tensor& cost, const at::Tensor& a, const at::Tensor& b) {
  KILN_CHECK(cost.dim() == 2, "costs have {} dimensions, not 2", cost.dim());
  const at::Tensor left = weights_or_equal(a, cost.size(0)),
                   right = weights_or_equal(b, cost.size(1));
  return solve_transport({values_of(cost).data(), cost.size(0), cost.size(1)}, values_of(left),
                         values_of(right));
}

at::Tensor plan_matrix(const TransportPlan& plan, std::int64_t rows, std::int64_t cols) {
  at::Tensor matrix = at::zeros({rows, cols}, at::kDouble);
  auto* masses = matrix.data_ptr<double>();
  for (const Shipment& shipment : plan.shipments) {
    masses[shipment.from * cols + shipment.to] = shipment.mass;
  }
  return matrix;
}

at::Tensor random_directions(std::int64_t count, std::int64_t dim, std::uint64_t seed) {
  at::Tensor rows = at::empty({count, dim}, at::kFloat);
  for (std::int64_t k = 0; k < count; ++k) {
    fill_normal(Philox(seed, Purpose::kProjection, k), rows.data_ptr<float>() + k * dim, dim);
  }
  const at::Tensor directions = rows.to(at::kDouble);
  return directions / directions.norm(2, 1, true);
}

at::Tensor sliced_transport(const at::Tensor& x, const at::Tensor& y, const at::Tensor& directions,
                            double p, const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor left = directions.mm(x.t()).contiguous();   // [K, N]
  const at::Tensor right = directions.mm(y.t()).contiguous();  // [K, M]
  const auto all_left = values_of(left), all_right = values_of(right);
  const auto n = static_cast<std::size_t>(x.size(0)), m = static_cast<std::size_t>(y.size(0));
  at::Tensor result = at::empty({directions.size(0)}, at::kDouble);
  auto* out = result.data_ptr<double>();
  in_parallel(directions.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      const auto at = static_cast<std::size_t>(k);
      out[k] = line_transport({all_left.subspan(at * n, n), values_of(a)},
                              {all_right.subspan(at * m, m), values_of(b)}, p);
    }
  });
  return result;
}

}  // namespace kiln
