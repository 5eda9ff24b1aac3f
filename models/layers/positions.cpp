#include "models/layers/positions.h"

#include <cmath>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

at::Tensor range(std::int64_t end) { return at::arange(end, at::kDouble); }

at::Tensor sincos_1d(std::int64_t dim, const at::Tensor& position) {
  const at::Tensor omega = at::pow(10'000.0, range(dim / 2) / (static_cast<double>(dim) / -2.0));
  const at::Tensor angle = at::outer(position, omega);
  return at::cat({angle.sin(), angle.cos()}, 1);
}

}  // namespace

at::Tensor sincos_2d(std::int64_t dim, std::int64_t rows, std::int64_t columns, bool has_cls) {
  KILN_CHECK(dim % 4 == 0, "a 2-D sin-cos table needs a width divisible by 4, not {}", dim);
  const at::Tensor x = range(columns).repeat({rows});
  const at::Tensor y = range(rows).repeat_interleave(columns);
  const at::Tensor table = at::cat({sincos_1d(dim / 2, x), sincos_1d(dim / 2, y)}, 1);
  return has_cls ? at::cat({at::zeros({1, dim}, at::kDouble), table}, 0) : table;
}

at::Tensor timestep_embedding(const at::Tensor& t, std::int64_t dim, double freq_shift) {
  const double half = static_cast<double>(dim / 2);
  const at::Tensor number = at::arange(dim / 2, at::device(t.device()).dtype(at::kDouble));
  const at::Tensor omega = at::exp(number * (-std::log(10'000.0) / (half - freq_shift)));
  const at::Tensor angle = at::outer(t.to(at::kDouble), omega);
  return at::cat({angle.cos(), angle.sin()}, 1);
}

}  // namespace kiln
