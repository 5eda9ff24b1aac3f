#include "tests/parity/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace kiln::parity {

Bound bound_on(const Case& reference, Bound bound) {
  const bool is_exact = bound.absolute == 0.0 && bound.relative == 0.0;
  if (reference.device.is_cpu() || is_exact) return bound;
  const double floor = reference.type == at::kFloat ? 1e-4 : 0.0;
  return {10 * bound.absolute, std::max(10 * bound.relative, floor)};
}

void Report::fail(const std::string& line) {
  ++num_failed_;
  fmt::print("{}: {}\n", reference_.name, line);
}

// Its `atol`. Where the case gives none: outputs relative to the tensor's largest magnitude,
// gradients to the larger of that and a thousandth of the model's largest gradient.
Bound Report::bound_of(const std::string& name) const {
  if (!reference_.at(name).is_floating_point()) return {};
  const nlohmann::json& info = reference_.info;
  const nlohmann::json entry = info.contains("tensors") && info["tensors"].contains(name)
                                   ? info["tensors"][name]
                                   : nlohmann::json::object();
  if (entry.contains("atol")) return {entry["atol"].get<double>(), 0.0};
  const nlohmann::json relative = info.value("recommended_rel", nlohmann::json::object());
  if (!name.starts_with("grad.")) return {0.0, relative.value("out", 1e-5)};
  const double by = relative.value("grad", 1e-4);
  return {1e-3 * by * info.value("global_grad_max", 0.0), by};
}

void Report::compare(const std::string& name, const at::Tensor& ours) {
  compare(name, ours, bound_of(name));
  const std::string exact = name + "_f64";
  if (!reference_.has(exact)) return;
  compare(exact, ours, reference_.type == at::kDouble ? kFloat64Bound : bound_of(exact));
}

void Report::compare_if_stored(const std::string& name, const at::Tensor& ours) {
  if (reference_.has(name)) compare(name, ours);
}

void Report::compare(const std::string& name, const at::Tensor& ours, Bound bound) {
  seen_.insert(name);
  compare_values(name, ours, reference_.at(name), bound);
}

void Report::compare_values(const std::string& name, const at::Tensor& ours,
                            const at::Tensor& reference, Bound host_bound) {
  const Bound bound = bound_on(reference_, host_bound);
  ++num_tensors_;
  if (!ours.defined()) return fail(fmt::format("{}: we computed nothing", name));
  if (ours.sizes() != reference.sizes()) {
    return fail(fmt::format("{}: shape [{}], stored [{}]", name, fmt::join(ours.sizes(), ", "),
                            fmt::join(reference.sizes(), ", ")));
  }
  if (reference.numel() == 0) return;
  const at::Tensor expected = reference.cpu().to(at::kDouble);
  const at::Tensor difference = (ours.detach().cpu().to(at::kDouble) - expected).abs();
  const double worst = difference.max().item<double>();
  const double allowed =
      std::max(bound.absolute, bound.relative * expected.abs().max().item<double>());
  const bool holds = worst <= allowed;  // false for NaN
  const double ratio = worst == 0.0 ? 0.0 : worst / std::max(allowed, 1e-300);
  worst_ratio_ = std::isnan(ratio) ? INFINITY : std::max(worst_ratio_, ratio);
  if (!holds) {
    const auto element = difference.argmax().item<std::int64_t>();
    fail(fmt::format("{}: off by {:.3g}, allowed {:.3g}; element {}: {:.9g}, stored {:.9g}", name,
                     worst, allowed, element,
                     ours.detach().cpu().reshape({-1})[element].item<double>(),
                     expected.reshape({-1})[element].item<double>()));
  }
}

void Report::compare_value(const std::string& name, double ours, double reference, Bound bound) {
  compare_values(name, at::scalar_tensor(ours, at::kDouble),
                 at::scalar_tensor(reference, at::kDouble), bound);
}

void Report::expect(bool holds, const std::string& what) {
  ++num_tensors_;
  if (!holds) fail(what);
}

void Report::finish() {
  if (!reference_.info.contains("tensors")) return;
  for (const auto& [name, entry] : reference_.info["tensors"].items()) {
    if (entry.at("role") == "input" || seen_.contains(name)) continue;
    ++num_tensors_;
    fail(fmt::format("{}: stored but not compared", name));
  }
}

std::string summary_line(const std::string& name, std::int64_t tensors, std::int64_t failed,
                         double worst_ratio) {
  return nlohmann::ordered_json{
      {"case", name}, {"tensors", tensors}, {"failed", failed}, {"worst_ratio", worst_ratio}}
      .dump();
}

std::string Report::summary() const {
  return summary_line(reference_.name, num_tensors_, num_failed_, worst_ratio_);
}

}  // namespace kiln::parity
