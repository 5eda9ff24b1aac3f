#include "core/training/divergence.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace kiln {
namespace {

// Names of a checkpoint's integers: "divergence/loss_mean" of the first phase, which is called "",
// "divergence/PHASE/loss_mean" of another.
std::string prefix_of(const std::string& phase) {
  return phase.empty() ? "divergence/" : "divergence/" + phase + "/";
}

std::string phase_of(const std::string& key) {
  const auto first = key.find('/'), last = key.rfind('/');
  return first == last ? "" : key.substr(first + 1, last - first - 1);
}

}  // namespace

std::string Divergence::describe() const {
  std::string where;
  for (const std::int64_t m : suspects) {
    const std::int64_t first = first_position + m * micro_batch;
    where += fmt::format("{} {} (positions {} to {})", where.empty() ? "" : ",", m, first,
                         first + micro_batch - 1);
  }
  const bool is_finite = std::ranges::all_of(losses, [](double x) { return std::isfinite(x); });
  const std::string what =
      fmt::format("step {}{}: {}", step, phase == "all" ? "" : fmt::format(", {}", phase), reason);
  if (suspects.empty()) return what;
  return fmt::format("{}; the loss is {} in micro-batch{}", what,
                     is_finite ? "largest" : "not finite", where);
}

void find_suspects(Divergence& divergence) {
  const auto& losses = divergence.losses;
  divergence.suspects.clear();
  for (std::size_t m = 0; m < losses.size(); ++m) {
    if (!std::isfinite(losses[m])) divergence.suspects.push_back(static_cast<std::int64_t>(m));
  }
  if (divergence.suspects.empty() && !losses.empty()) {
    divergence.suspects.push_back(std::ranges::max_element(losses) - losses.begin());
  }
}

void DivergenceJudge::Moments::add(double value, double horizon) {
  ++count;
  // A plain mean at first, a moving one once the horizon is full.
  const double share = 1.0 / std::min(static_cast<double>(count), horizon);
  const double step = value - mean;
  mean += share * step;
  variance = (1.0 - share) * (variance + share * step * step);
}

double DivergenceJudge::Moments::limit(double sigma) const {
  return mean + sigma * std::sqrt(variance);
}

bool DivergenceJudge::is_outlier(const Moments& moments, double value, double sigma) const {
  return sigma > 0 && moments.count >= options_.window && value > moments.limit(sigma);
}

std::string DivergenceJudge::verdict(const std::string& phase, double loss,
                                     double grad_norm) const {
  if (!std::isfinite(grad_norm)) {
    return fmt::format("the gradient is no longer finite (2-norm {}, loss {})", grad_norm, loss);
  }
  if (needs_loss() && !std::isfinite(loss)) {
    return fmt::format("the loss is no longer finite ({})", loss);
  }
  const auto found = phases_.find(phase);
  if (found == phases_.end()) return "";
  const History& before = found->second;
  if (is_outlier(before.loss, loss, options_.loss_sigma)) {
    return fmt::format(
        "loss {:.6g} is an outlier (mean {:.6g}, divergence.loss_sigma allows {:.6g})", loss,
        before.loss.mean, before.loss.limit(options_.loss_sigma));
  }
  if (is_outlier(before.norm, grad_norm, options_.norm_sigma)) {
    return fmt::format(
        "gradient 2-norm {:.6g} is an outlier (mean {:.6g}, divergence.norm_sigma allows {:.6g})",
        grad_norm, before.norm.mean, before.norm.limit(options_.norm_sigma));
  }
  return "";
}

void DivergenceJudge::accept(const std::string& phase, double loss, double grad_norm) {
  const auto horizon = static_cast<double>(options_.window);
  History& history = phases_[phase];
  if (options_.loss_sigma > 0) history.loss.add(loss, horizon);
  if (options_.norm_sigma > 0) history.norm.add(grad_norm, horizon);
}

void DivergenceJudge::end_good_step() {
  if (num_bad_ > 0 && ++num_good_ >= options_.window) num_bad_ = num_good_ = 0;
}

bool DivergenceJudge::tolerate() {
  num_good_ = 0;
  return ++num_bad_ <= options_.limit;
}

void DivergenceJudge::save(std::map<std::string, std::int64_t>& state) const {
  const auto put = [&](const std::string& name, const Moments& moments) {
    if (moments.count == 0) return;
    state[name + "_mean"] = std::bit_cast<std::int64_t>(moments.mean);
    state[name + "_variance"] = std::bit_cast<std::int64_t>(moments.variance);
    state[name + "_count"] = moments.count;
  };
  for (const auto& [phase, history] : phases_) {
    put(prefix_of(phase) + "loss", history.loss);
    put(prefix_of(phase) + "norm", history.norm);
  }
  if (num_bad_ == 0) return;
  state["divergence/bad"] = num_bad_;
  state["divergence/good"] = num_good_;
}

void DivergenceJudge::load(const std::map<std::string, std::int64_t>& state) {
  const auto get = [&](const std::string& name, std::int64_t fallback) {
    const auto found = state.find(name);
    return found == state.end() ? fallback : found->second;
  };
  const auto take = [&](const std::string& name) {
    Moments moments;
    moments.count = get(name + "_count", 0);
    moments.mean = std::bit_cast<double>(get(name + "_mean", 0));
    moments.variance = std::bit_cast<double>(get(name + "_variance", 0));
    return moments;
  };
  phases_.clear();
  for (const auto& [key, value] : state) {
    const std::string phase = phase_of(key);
    if (!key.starts_with("divergence/") || !key.ends_with("_count")) continue;
    phases_[phase] = {take(prefix_of(phase) + "loss"), take(prefix_of(phase) + "norm")};
  }
  num_bad_ = get("divergence/bad", 0);
  num_good_ = get("divergence/good", 0);
}

}  // namespace kiln
