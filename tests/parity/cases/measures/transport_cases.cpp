#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/torch.h"
#include "models/measures/frechet.h"
#include "models/measures/histogram.h"
#include "models/measures/normal.h"
#include "models/measures/sample_distances.h"
#include "models/transport/line.h"
#include "models/transport/point_transport.h"
#include "models/transport/sinkhorn.h"
#include "tests/parity/runners.h"

namespace kiln::parity {
namespace {

std::vector<double> values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous().view({-1});
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

at::Tensor tensor_of(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

at::Tensor scalar(double value) { return at::scalar_tensor(value, at::kDouble); }

std::vector<std::string> names_of(const Case& reference, const std::string& kind) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : reference.tensors) {
    if (!name.starts_with(kind + ".")) continue;
    const std::string rest = name.substr(kind.size() + 1);
    const std::string found = kind + "." + rest.substr(0, rest.find('.'));
    if (names.empty() || names.back() != found) names.push_back(found);
  }
  return names;
}

void run_program(const Case& reference, const std::string& name, Report& report) {
  const at::Tensor cost = reference.at(name + ".cost");
  const at::Tensor a = reference.at(name + ".a"), b = reference.at(name + ".b");
  const TransportPlan plan = solve_transport(cost.contiguous(), a.contiguous(), b.contiguous());
  report.compare(name + ".value_f64", scalar(plan.cost));
  report.compare(name + ".plan_f64", plan_matrix(plan, cost.size(0), cost.size(1)));
  const at::Tensor f = tensor_of(plan.f), g = tensor_of(plan.g);
  const double slack = (cost - f.unsqueeze(1) - g).min().item<double>();
  report.expect(slack >= -1e-9, fmt::format("{}: potentials are infeasible by {}", name, -slack));
  const double dual = (a.dot(f) + b.dot(g)).item<double>();
  report.compare_value(name + ": dual", dual, reference.at(name + ".value_f64").item<double>(),
                       {1e-9, 1e-9});
}

void run_sinkhorn(const Case& reference, const nlohmann::json& info, Report& report) {
  const std::string problem = "lp." + info.at("problem").get<std::string>();
  const std::string name = fmt::format("sinkhorn.{}.eps{}", info.at("problem").get<std::string>(),
                                       info.at("index").get<int>());
  const at::Tensor cost = reference.at(problem + ".cost").contiguous();
  const std::vector<double> a = values(reference.at(problem + ".a")),
                            b = values(reference.at(problem + ".b"));
  const CostMatrix matrix{cost.const_data_ptr<double>(), cost.size(0), cost.size(1)};
  const double epsilon = info.at("epsilon");
  const SinkhornPlan plan =
      sinkhorn(matrix, a, b, {.epsilon = epsilon, .tolerance = 1e-14, .max_iterations = 20'000});
  const at::Tensor f = tensor_of(plan.f), g = tensor_of(plan.g), weights = tensor_of(a);
  const at::Tensor shift = weights.dot(f);
  report.compare(name + ".f_f64", f - shift);
  report.compare(name + ".g_f64", g + shift);
  report.compare(name + ".transport_cost_f64", scalar(plan.cost));
  report.compare(name + ".regularised_f64", scalar(plan.regularised));
  report.compare(
      name + ".plan_f64",
      tensor_of(sinkhorn_matrix(matrix, a, b, plan, epsilon)).view({cost.size(0), cost.size(1)}));
  std::vector<double> errors;
  for (const auto& iteration : info.at("marginal_error_at_iterations")) {
    const auto index = iteration.get<std::size_t>() - 1;
    errors.push_back(plan.errors[std::min(index, plan.errors.size() - 1)]);
  }
  report.compare(name + ".marginal_error_f64", tensor_of(errors));
  std::int64_t first = 100;
  while (first < plan.iterations() &&
         plan.errors[static_cast<std::size_t>(first - 1)] > info.at("tolerance").get<double>()) {
    ++first;
  }
  report.compare(name + ".iterations", at::scalar_tensor(first, at::kLong), {1.0, 0.0});
}

void run_line(const Case& reference, const std::string& name, Report& report) {
  const std::vector<double> x = values(reference.at(name + ".x")),
                            y = values(reference.at(name + ".y"));
  const std::vector<double> a = values(reference.at(name + ".a")),
                            b = values(reference.at(name + ".b"));
  report.compare(name + ".w1_f64", scalar(line_transport({x, a}, {y, b}, 1.0)));
  report.compare(name + ".w2_f64", scalar(std::sqrt(line_transport({x, a}, {y, b}, 2.0))));
  report.compare(name + ".energy_distance_f64", scalar(line_energy_distance({x, a}, {y, b})));
}

void run_normal(const Case& reference, const std::string& name, Report& report) {
  const Normal p{reference.at(name + ".mean1"), reference.at(name + ".cov1")};
  const Normal q{reference.at(name + ".mean2"), reference.at(name + ".cov2")};
  report.compare(name + ".w2_squared_f64", scalar(bures_squared(p, q)));
  report.compare(name + ".map_f64", bures_map(p, q));
  report.compare(name + ".kl_f64", scalar(kl_divergence(p, q)));
  report.compare(name + ".kl_reverse_f64", scalar(kl_divergence(q, p)));
  report.compare(name + ".hellinger_squared_f64", scalar(hellinger_squared(p, q)));
}

void run_pair(const Case& reference, const std::string& name, Report& report) {
  const std::vector<double> v = values(reference.at(name + ".parameters"));
  const LineNormal p{v[0], v[1]}, q{v[2], v[3]};
  const auto normal = [](const LineNormal& n) {
    return Normal{at::full({1}, n.mean, at::kDouble),
                  at::full({1, 1}, n.deviation * n.deviation, at::kDouble)};
  };
  report.compare(name + ".tv_f64", scalar(total_variation(p, q)));
  report.compare(name + ".jsd_f64", scalar(jensen_shannon(p, q)));
  report.compare(name + ".w1_f64", scalar(wasserstein_1(p, q)), {1e-9, 1e-9});
  report.compare(name + ".kl_f64", scalar(kl_divergence(normal(p), normal(q))));
  report.compare(name + ".hellinger_squared_f64", scalar(hellinger_squared(normal(p), normal(q))));
}

void run_discrete(const Case& reference, Report& report) {
  const HistogramDivergences found =
      histogram_divergences(reference.at("discrete.p"), reference.at("discrete.q"));
  report.compare("discrete.kl_f64", scalar(found.kl));
  report.compare("discrete.tv_f64", scalar(found.total_variation));
  report.compare("discrete.hellinger_squared_f64", scalar(found.hellinger_squared));
  report.compare("discrete.jsd_f64", scalar(found.jensen_shannon));
  report.compare("discrete.chi_squared_f64", scalar(found.chi_squared));
}

void run_sliced(const Case& reference, const std::string& name, Report& report) {
  const at::Tensor x = reference.at(name + ".x"), y = reference.at(name + ".y");
  const at::Tensor directions = reference.at(name + ".directions");
  const at::Tensor w1 = sliced_transport(x, y, directions, 1.0),
                   w2 = sliced_transport(x, y, directions, 2.0);
  report.compare(name + ".per_direction_w1_f64", w1);
  report.compare(name + ".per_direction_w2_squared_f64", w2);
  report.compare(name + ".sw1_f64", w1.mean());
  report.compare(name + ".sw2_f64", w2.mean().sqrt());
}

void run_kernel(const Case& reference, const std::string& name, Report& report) {
  const PointDistances distances(reference.at(name + ".x"), reference.at(name + ".y"));
  std::vector<double> unbiased, biased;
  for (const double bandwidth : values(reference.at(name + ".bandwidths"))) {
    const SampleDistance mmd = mmd_squared(distances, bandwidth);
    unbiased.push_back(mmd.unbiased);
    biased.push_back(mmd.biased);
  }
  report.compare(name + ".mmd_squared_unbiased_f64", tensor_of(unbiased));
  report.compare(name + ".mmd_squared_biased_f64", tensor_of(biased));
  const SampleDistance energy = energy_distance(distances);
  report.compare(name + ".energy_distance_f64", scalar(energy.biased));
  report.compare(name + ".energy_distance_unbiased_f64", scalar(energy.unbiased));
}

void run_frechet(const Case& reference, const std::string& name, Report& report) {
  const at::Tensor x = reference.at(name + ".x"), y = reference.at(name + ".y");
  FeatureStatistics a(x.size(1)), b(y.size(1));
  a.add(x);
  b.add(y);
  report.compare(name + ".mean_x_f64", a.mean());
  report.compare(name + ".cov_x_f64", a.covariance());
  report.compare(name + ".value_f64", scalar(frechet_distance(a, b)));
}

bool is_transport(const Case& reference) {
  return reference.config.value("model", "") == "optimal_transport";
}

void run_transport(Case& reference, Report& report) {
  for (const std::string& name : names_of(reference, "lp")) run_program(reference, name, report);
  for (const auto& info : reference.config.at("sinkhorn")) run_sinkhorn(reference, info, report);
  for (const std::string& name : names_of(reference, "line")) run_line(reference, name, report);
  for (const std::string& name : names_of(reference, "gaussian")) {
    run_normal(reference, name, report);
  }
  for (const std::string& name : names_of(reference, "pair")) run_pair(reference, name, report);
  run_discrete(reference, report);
  for (const std::string& name : names_of(reference, "sliced")) run_sliced(reference, name, report);
  for (const std::string& name : names_of(reference, "kernel")) run_kernel(reference, name, report);
  for (const std::string& name : names_of(reference, "fid")) run_frechet(reference, name, report);
}

}  // namespace

Runners transport_runners() { return {{.name = "ot", .fits = is_transport, .run = run_transport}}; }

}  // namespace kiln::parity
