#include "models/transport/sinkhorn.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/device/in_parallel.h"
#include "models/transport/exponential.h"

namespace kiln {
namespace {

constexpr std::int64_t kRows = 32;  // of a block, whose sums over columns are taken together
constexpr std::int64_t kLanes = 16;
constexpr double kMostScale = 1e60;  // of a scaling before it goes into the potentials
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool is_in_range(double scale) { return scale > 1 / kMostScale && scale < kMostScale; }

/// Sum over k of x[k] y[k], in lanes.
double dot(const double* x, const double* y, std::int64_t count) {
  double lanes[kLanes] = {};
  const std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t j = 0; j < whole; j += kLanes) {
    for (std::int64_t k = 0; k < kLanes; ++k) lanes[k] += x[j + k] * y[j + k];
  }
  for (std::int64_t j = whole; j < count; ++j) lanes[j - whole] += x[j] * y[j];
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

void add_scaled(const double* x, double factor, std::int64_t count, double* sums) {
  for (std::int64_t j = 0; j < count; ++j) sums[j] += factor * x[j];
}

/// terms[j] = exp((f + g[j] - cost[j]) / epsilon).
void exponentiate(const double* cost, const double* g, double f, double epsilon, std::int64_t count,
                  double* terms) {
  const double scale = 1 / epsilon;
  for (std::int64_t j = 0; j < count; ++j) terms[j] = exponential((f + g[j] - cost[j]) * scale);
}

/// Potentials f + eps ln u and g + eps ln v: the scalings u, v move by sums over one fixed kernel
/// exp((f_i + g_j - cost_ij) / eps), as in the plain algorithm, and go into the potentials when they
/// become large (Schmitzer, arXiv:1610.06519). What the kernel lost to underflow is then below any
/// digit of the sums.
class Iteration {
 public:
  Iteration(const CostMatrix& cost, std::span<const double> a, std::span<const double> b,
            double epsilon)
      : cost_(cost),
        a_(a),
        b_(b),
        epsilon_(epsilon),
        f_(a.size(), 0.0),
        g_(b.size(), 0.0),
        u_(a.size(), 1.0),
        v_(b.size(), 1.0),
        next_u_(a.size()),
        next_v_(b.size()),
        row_errors_(a.size()),
        kernel_(a.size() * b.size()),
        num_blocks_((cost.rows + kRows - 1) / kRows),
        block_sums_(static_cast<std::size_t>(num_blocks_) * b.size()) {
    fill_kernel();
  }

  /// Computes the next scalings; returns the error of those there are.
  double look() {
    std::vector<double> weights(v_.size());  // b v
    for (std::size_t j = 0; j < weights.size(); ++j) weights[j] = b_[j] * v_[j];
    in_parallel(num_blocks_, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t block = begin; block < end; ++block) do_block(block, weights.data());
    });
    std::ranges::fill(next_v_, 0.0);
    for (std::int64_t block = 0; block < num_blocks_; ++block) {
      add_scaled(block_sums_.data() + block * cost_.cols, 1.0, cost_.cols, next_v_.data());
    }
    for (double& v : next_v_) v = 1.0 / v;
    double error = 0.0;
    for (const double row : row_errors_) error += row;
    return error;
  }

  void accept() {
    if (std::ranges::all_of(next_u_, is_in_range) && std::ranges::all_of(next_v_, is_in_range)) {
      u_.swap(next_u_);
      v_.swap(next_v_);
      return;
    }
    absorb();
    renew_rows();
    renew_columns();
    fill_kernel();
  }

  /// The scalings go into the potentials.
  void absorb() {
    for (std::size_t i = 0; i < u_.size(); ++i) f_[i] += epsilon_ * std::log(u_[i]);
    for (std::size_t j = 0; j < v_.size(); ++j) g_[j] += epsilon_ * std::log(v_[j]);
    std::ranges::fill(u_, 1.0);
    std::ranges::fill(v_, 1.0);
  }

  std::vector<double>& f() { return f_; }
  std::vector<double>& g() { return g_; }

 private:
  void do_block(std::int64_t block, const double* weights) {
    double* sums = block_sums_.data() + block * cost_.cols;
    std::fill_n(sums, cost_.cols, 0.0);
    const std::int64_t end = std::min(cost_.rows, (block + 1) * kRows);
    for (std::int64_t i = block * kRows; i < end; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double* row = kernel_.data() + i * cost_.cols;
      const double sum = dot(row, weights, cost_.cols);
      row_errors_[at] = a_[at] * std::abs(u_[at] * sum - 1.0);
      next_u_[at] = 1.0 / sum;
      add_scaled(row, a_[at] / sum, cost_.cols, sums);
    }
  }

  void fill_kernel() {
    in_parallel(cost_.rows, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        exponentiate(cost_.row(i), g_.data(), f_[static_cast<std::size_t>(i)], epsilon_, cost_.cols,
                     kernel_.data() + i * cost_.cols);
      }
    });
  }

  /// f_i = -eps ln sum_j b_j exp((g_j - cost_ij) / eps), around the largest term.
  void renew_rows() {
    in_parallel(cost_.rows, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const double* cost = cost_.row(i);
        double most = -kInfinity, sum = 0.0;
        for (std::size_t j = 0; j < b_.size(); ++j) {
          if (b_[j] > 0.0) most = std::max(most, g_[j] - cost[j]);
        }
        for (std::size_t j = 0; j < b_.size(); ++j) {
          sum += b_[j] * exponential(std::min(g_[j] - cost[j] - most, 0.0) / epsilon_);
        }
        f_[static_cast<std::size_t>(i)] = -most - epsilon_ * std::log(sum);
      }
    });
  }

  /// g_j = -eps ln sum_i a_i exp((f_i - cost_ij) / eps) likewise; rows from first to last.
  void renew_columns() {
    in_parallel(cost_.cols, 64, [&](std::int64_t begin, std::int64_t end) {
      const auto count = static_cast<std::size_t>(end - begin);
      std::vector<double> most(count, -kInfinity), sums(count, 0.0);
      for (std::size_t i = 0; i < a_.size(); ++i) {
        const double* cost = cost_.row(static_cast<std::int64_t>(i)) + begin;
        for (std::size_t j = 0; j < count && a_[i] > 0.0; ++j) {
          most[j] = std::max(most[j], f_[i] - cost[j]);
        }
      }
      for (std::size_t i = 0; i < a_.size(); ++i) {
        const double* cost = cost_.row(static_cast<std::int64_t>(i)) + begin;
        for (std::size_t j = 0; j < count && a_[i] > 0.0; ++j) {
          sums[j] += a_[i] * exponential((f_[i] - cost[j] - most[j]) / epsilon_);
        }
      }
      for (std::size_t j = 0; j < count; ++j) {
        g_[static_cast<std::size_t>(begin) + j] = -most[j] - epsilon_ * std::log(sums[j]);
      }
    });
  }

  CostMatrix cost_;
  std::span<const double> a_, b_;
  double epsilon_;
  std::vector<double> f_, g_, u_, v_, next_u_, next_v_, row_errors_;
  std::vector<double> kernel_;  // [n, m]
  std::int64_t num_blocks_;
  std::vector<double> block_sums_;  // [blocks, m]
};

double weighted(std::span<const double> weights, std::span<const double> values) {
  double sum = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) sum += weights[i] * values[i];
  return sum;
}

}  // namespace

SinkhornPlan sinkhorn(const CostMatrix& cost, std::span<const double> a, std::span<const double> b,
                      const SinkhornOptions& options) {
  check_transport(cost, a, b);
  if (!(options.epsilon > 0.0)) {
    throw usage_error("Sinkhorn's epsilon is {}; it must be above 0", options.epsilon);
  }
  Iteration iteration(cost, a, b, options.epsilon);
  SinkhornPlan plan;
  iteration.look();
  while (plan.iterations() < options.max_iterations && !plan.has_converged) {
    iteration.accept();
    plan.errors.push_back(iteration.look());
    plan.has_converged = plan.errors.back() <= options.tolerance;
  }
  iteration.absorb();
  plan.f = std::move(iteration.f());
  plan.g = std::move(iteration.g());
  plan.regularised = weighted(a, plan.f) + weighted(b, plan.g);
  plan.cost = weighted(sinkhorn_matrix(cost, a, b, plan, options.epsilon),
                       {cost.values, static_cast<std::size_t>(cost.rows * cost.cols)});
  return plan;
}

std::vector<double> sinkhorn_matrix(const CostMatrix& cost, std::span<const double> a,
                                    std::span<const double> b, const SinkhornPlan& plan,
                                    double epsilon) {
  std::vector<double> masses(static_cast<std::size_t>(cost.rows * cost.cols));
  in_parallel(cost.rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<std::size_t>(i);
      double* row = masses.data() + i * cost.cols;
      exponentiate(cost.row(i), plan.g.data(), plan.f[at], epsilon, cost.cols, row);
      for (std::size_t j = 0; j < b.size(); ++j) row[j] *= a[at] * b[j];
    }
  });
  return masses;
}

}  // namespace kiln
