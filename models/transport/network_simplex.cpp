#include "models/transport/network_simplex.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/base/error.h"
#include "core/device/in_parallel.h"
#include "models/transport/spanning_tree.h"

namespace kiln {
namespace {

// Masses are whole numbers of this part of their sum, so that flows are exact and a flow of zero is
// told from a small one.
constexpr double kUnits = 0x1p50;
constexpr double kTolerance = 1e-14;  // of the largest cost: reduced costs above -it are zero
constexpr std::int64_t kLanes = 16;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// min over j of cost[j] - price[j].
double least(const double* cost, const double* price, std::int64_t count) {
  double lanes[kLanes];
  std::fill_n(lanes, kLanes, kInfinity);
  const std::int64_t whole = count / kLanes * kLanes;
  for (std::int64_t j = 0; j < whole; j += kLanes) {
    for (std::int64_t k = 0; k < kLanes; ++k) {
      const double x = cost[j + k] - price[j + k];
      lanes[k] = x < lanes[k] ? x : lanes[k];
    }
  }
  for (std::int64_t j = whole; j < count; ++j) lanes[0] = std::min(lanes[0], cost[j] - price[j]);
  return *std::min_element(lanes, lanes + kLanes);
}

std::int64_t place_of(double value, const double* cost, const double* price, std::int64_t count) {
  for (std::int64_t j = 0; j < count; ++j) {
    if (cost[j] - price[j] == value) return j;
  }
  KILN_CHECK(false, "the least of {} reduced costs is none of them", count);
}

double total(std::span<const double> weights) {
  double sum = 0.0;
  for (const double weight : weights) sum += weight;
  return sum;
}

double checked_sum(std::span<const double> weights, const char* side) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!(weights[i] >= 0.0) || !std::isfinite(weights[i])) {
      throw usage_error("transport: weight {} of the {} is {}; weights are finite and at least 0",
                        i, side, weights[i]);
    }
  }
  const double sum = total(weights);
  if (!(sum > 0.0)) throw usage_error("transport: the weights of the {} add up to {}", side, sum);
  return sum;
}

double largest_magnitude(const CostMatrix& cost) {
  std::vector<double> rows(static_cast<std::size_t>(cost.rows), 0.0);
  in_parallel(cost.rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      double most = 0.0;
      for (std::int64_t j = 0; j < cost.cols; ++j) {
        const double x = std::abs(cost.row(i)[j]);
        most = x <= most ? most : x;  // NaN is kept
      }
      rows[static_cast<std::size_t>(i)] = most;
    }
  });
  double most = 0.0;
  for (const double row : rows) {
    if (!std::isfinite(row)) throw usage_error("transport: a cost is not finite");
    most = std::max(most, row);
  }
  return most;
}

/// Weights as whole numbers, without those that are (close to) zero.
struct Masses {
  std::vector<std::int64_t> kept;  // places of the others
  std::vector<std::int64_t> units;
};

Masses masses_of(std::span<const double> weights, double sum) {
  Masses masses;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::int64_t units = std::llround(weights[i] / sum * kUnits);
    if (units == 0) continue;
    masses.kept.push_back(static_cast<std::int64_t>(i));
    masses.units.push_back(units);
    total += units;
  }
  *std::ranges::max_element(masses.units) += static_cast<std::int64_t>(kUnits) - total;
  return masses;
}

bool are_equal(std::span<const double> weights) {
  return std::ranges::all_of(weights, [&](double x) { return x == weights.front(); });
}

/// Equal weights on both sides need few units: none is rounded.
void simplify(std::span<const double> a, std::span<const double> b, Masses& sources,
              Masses& sinks) {
  if (!are_equal(a) || !are_equal(b)) return;
  std::ranges::fill(sources.units, std::ssize(sinks.kept));
  std::ranges::fill(sinks.units, std::ssize(sources.kept));
}

/// The problem without empty sources and sinks, and its basis.
class Simplex {
 public:
  Simplex(const CostMatrix& cost, std::vector<std::int64_t> supply,
          std::vector<std::int64_t> demand, double tolerance)
      : cost_(cost),
        num_sources_(static_cast<std::int32_t>(cost.rows)),
        tree_(num_sources_, static_cast<std::int32_t>(cost.cols)),
        tolerance_(tolerance) {
    start(std::move(supply), std::move(demand));
  }

  /// Row after row, the arc of least reduced cost enters, until a round finds none.
  std::int64_t run() {
    std::int64_t pivots = 0, idle = 0, settled = 0;
    for (std::int64_t i = 0;; i = i + 1 == cost_.rows ? 0 : i + 1) {
      if (improve(i)) {
        ++pivots;
        idle = 0;
      } else if (++idle >= cost_.rows) {
        if (settled == pivots) return pivots;
        idle = 0;  // potentials are sums of many shifts: again with exact ones
        settle();
        settled = pivots;
      }
    }
  }

  const SpanningTree& tree() const { return tree_; }
  std::int32_t sink(std::int64_t j) const { return num_sources_ + static_cast<std::int32_t>(j); }
  std::int64_t column(std::int32_t node) const { return node - num_sources_; }

 private:
  bool improve(std::int64_t i) {
    const double* prices = tree_.potentials() + cost_.rows;
    const auto source = static_cast<std::int32_t>(i);
    const double best = least(cost_.row(i), prices, cost_.cols);
    const double reduced = best - tree_.potential(source);
    if (!(reduced < -tolerance_)) return false;
    tree_.pivot(source, sink(place_of(best, cost_.row(i), prices, cost_.cols)), reduced);
    return true;
  }

  /// Each source fills its cheapest sinks. The arcs used make trees; each is hung under one root by
  /// an empty arc from a source.
  void start(std::vector<std::int64_t> supply, std::vector<std::int64_t> demand) {
    std::vector<double> open(demand.size(), 0.0);  // -infinity: full
    for (std::int32_t i = 0; i < num_sources_; ++i) {
      std::int64_t& left = supply[static_cast<std::size_t>(i)];
      while (left > 0) {
        const double best = least(cost_.row(i), open.data(), cost_.cols);
        const std::int64_t j = place_of(best, cost_.row(i), open.data(), cost_.cols);
        std::int64_t& room = demand[static_cast<std::size_t>(j)];
        const std::int64_t flow = std::min(left, room);
        left -= flow;
        room -= flow;
        if (room == 0) open[static_cast<std::size_t>(j)] = -kInfinity;
        tree_.make_root(sink(j));
        tree_.attach(sink(j), i, flow);
      }
    }
    root_ = sink(0);
    tree_.make_root(root_);
    for (std::int32_t i = 0; i < num_sources_; ++i) {
      if (tree_.root_of(i) == root_) continue;
      tree_.make_root(i);
      tree_.attach(i, root_, 0);
    }
    settle();
  }

  void settle() {
    tree_.settle(
        root_, [&](std::int32_t source, std::int32_t to) { return cost_.row(source)[column(to)]; });
  }

  CostMatrix cost_;
  std::int32_t num_sources_;
  SpanningTree tree_;
  double tolerance_;
  std::int32_t root_ = 0;
};

/// Rows and columns of the kept sources and sinks.
std::vector<double> compact(const CostMatrix& cost, const Masses& sources, const Masses& sinks) {
  std::vector<double> values;
  values.reserve(sources.kept.size() * sinks.kept.size());
  for (const std::int64_t i : sources.kept) {
    for (const std::int64_t j : sinks.kept) values.push_back(cost.row(i)[j]);
  }
  return values;
}

void add_shipments(const Simplex& simplex, const Masses& sources, const Masses& sinks, double unit,
                   TransportPlan& plan) {
  const SpanningTree& tree = simplex.tree();
  const std::int64_t num_nodes = std::ssize(sources.kept) + std::ssize(sinks.kept);
  for (std::int32_t node = 0; node < num_nodes; ++node) {
    if (tree.parent(node) == SpanningTree::kNone || tree.flow(node) == 0) continue;
    const bool is_source = tree.is_source(node);
    const std::int32_t from = is_source ? node : tree.parent(node);
    const std::int32_t to = is_source ? tree.parent(node) : node;
    plan.shipments.push_back({.from = sources.kept[static_cast<std::size_t>(from)],
                              .to = sinks.kept[static_cast<std::size_t>(simplex.column(to))],
                              .mass = static_cast<double>(tree.flow(node)) * unit});
  }
  std::ranges::sort(plan.shipments, {}, [](const Shipment& x) { return std::pair(x.from, x.to); });
}

/// Potentials of everybody: the sinks' from the tree, the sources' the largest that these allow,
/// then those of the sinks without mass.
void add_potentials(const CostMatrix& cost, const Simplex& simplex, const Masses& sinks,
                    TransportPlan& plan) {
  plan.f.resize(static_cast<std::size_t>(cost.rows));
  plan.g.assign(static_cast<std::size_t>(cost.cols), -kInfinity);
  for (std::size_t j = 0; j < sinks.kept.size(); ++j) {
    plan.g[static_cast<std::size_t>(sinks.kept[j])] =
        simplex.tree().potential(simplex.sink(static_cast<std::int64_t>(j)));
  }
  in_parallel(cost.rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      plan.f[static_cast<std::size_t>(i)] = least(cost.row(i), plan.g.data(), cost.cols);
    }
  });
  for (std::int64_t j = 0; j < cost.cols; ++j) {
    double& g = plan.g[static_cast<std::size_t>(j)];
    if (g != -kInfinity) continue;
    g = kInfinity;
    for (std::int64_t i = 0; i < cost.rows; ++i) {
      g = std::min(g, cost.row(i)[j] - plan.f[static_cast<std::size_t>(i)]);
    }
  }
}

}  // namespace

void check_transport(const CostMatrix& cost, std::span<const double> a, std::span<const double> b) {
  KILN_CHECK(std::ssize(a) == cost.rows && std::ssize(b) == cost.cols,
             "{} and {} weights for costs [{}, {}]", a.size(), b.size(), cost.rows, cost.cols);
  const double sum_a = checked_sum(a, "first side"), sum_b = checked_sum(b, "second side");
  if (std::abs(sum_a - sum_b) > 1e-9 * sum_a) {
    throw usage_error("transport: the two sides weigh {} and {}; normalise them to one sum", sum_a,
                      sum_b);
  }
}

TransportPlan solve_transport(const CostMatrix& cost, std::span<const double> a,
                              std::span<const double> b) {
  check_transport(cost, a, b);
  const double sum_a = total(a), sum_b = total(b);
  const double tolerance = kTolerance * largest_magnitude(cost);
  Masses sources = masses_of(a, sum_a), sinks = masses_of(b, sum_b);
  simplify(a, b, sources, sinks);
  CostMatrix kept = {cost.values, std::ssize(sources.kept), std::ssize(sinks.kept)};
  std::vector<double> values;
  if (kept.rows != cost.rows || kept.cols != cost.cols) {
    values = compact(cost, sources, sinks);
    kept.values = values.data();
  }
  Simplex simplex(kept, sources.units, sinks.units, tolerance);
  TransportPlan plan;
  plan.pivots = simplex.run();
  std::int64_t num_units = 0;
  for (const std::int64_t units : sources.units) num_units += units;
  add_shipments(simplex, sources, sinks, sum_a / static_cast<double>(num_units), plan);
  add_potentials(cost, simplex, sinks, plan);
  for (const Shipment& s : plan.shipments) plan.cost += s.mass * cost.row(s.from)[s.to];
  for (std::size_t i = 0; i < a.size(); ++i) plan.dual += a[i] * plan.f[i];
  for (std::size_t j = 0; j < b.size(); ++j) plan.dual += b[j] * (sum_a / sum_b) * plan.g[j];
  return plan;
}

}  // namespace kiln
