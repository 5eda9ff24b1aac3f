#include "core/training/divergence.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace kiln {

std::string Divergence::describe() const {
  std::string where;
  for (const std::int64_t m : suspects) {
    const std::int64_t first = first_position + m * micro_batch;
    where += fmt::format("{} {} (positions {} to {})", where.empty() ? "" : ",", m, first,
                         first + micro_batch - 1);
  }
  const bool is_finite = std::ranges::all_of(losses, [](double x) { return std::isfinite(x); });
  return fmt::format("step {}{}: {}; the loss is {} in micro-batch{}", step,
                     phase == "all" ? "" : fmt::format(", {}", phase), reason,
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

std::string DivergenceJudge::verdict(double loss, double grad_norm, bool is_first_phase) const {
  if (!std::isfinite(grad_norm)) {
    return fmt::format("the gradient is no longer finite (2-norm {}, loss {})", grad_norm, loss);
  }
  if (needs_loss() && !std::isfinite(loss)) {
    return fmt::format("the loss is no longer finite ({})", loss);
  }
  if (!is_first_phase) return "";
  if (is_outlier(loss_, loss, options_.loss_sigma)) {
    return fmt::format(
        "loss {:.6g} is an outlier (mean {:.6g}, divergence.loss_sigma allows {:.6g})", loss,
        loss_.mean, loss_.limit(options_.loss_sigma));
  }
  if (is_outlier(norm_, grad_norm, options_.norm_sigma)) {
    return fmt::format(
        "gradient 2-norm {:.6g} is an outlier (mean {:.6g}, divergence.norm_sigma allows {:.6g})",
        grad_norm, norm_.mean, norm_.limit(options_.norm_sigma));
  }
  return "";
}

void DivergenceJudge::accept(double loss, double grad_norm) {
  const auto horizon = static_cast<double>(options_.window);
  if (options_.loss_sigma > 0) loss_.add(loss, horizon);
  if (options_.norm_sigma > 0) norm_.add(grad_norm, horizon);
  if (num_bad_ > 0 && ++num_good_ >= options_.window) num_bad_ = num_good_ = 0;
}

bool DivergenceJudge::tolerate() {
  num_good_ = 0;
  return ++num_bad_ <= options_.limit;
}

void DivergenceJudge::save(std::map<std::string, std::int64_t>& state) const {
  const auto put = [&](const std::string& name, const Moments& moments) {
    if (moments.count == 0) return;
    state["divergence/" + name + "_mean"] = std::bit_cast<std::int64_t>(moments.mean);
    state["divergence/" + name + "_variance"] = std::bit_cast<std::int64_t>(moments.variance);
    state["divergence/" + name + "_count"] = moments.count;
  };
  put("loss", loss_);
  put("norm", norm_);
  if (num_bad_ == 0) return;
  state["divergence/bad"] = num_bad_;
  state["divergence/good"] = num_good_;
}

void DivergenceJudge::load(const std::map<std::string, std::int64_t>& state) {
  const auto get = [&](const std::string& name, std::int64_t fallback) {
    const auto found = state.find("divergence/" + name);
    return found == state.end() ? fallback : found->second;
  };
  const auto take = [&](const std::string& name, Moments& moments) {
    moments.count = get(name + "_count", 0);
    moments.mean = std::bit_cast<double>(get(name + "_mean", 0));
    moments.variance = std::bit_cast<double>(get(name + "_variance", 0));
  };
  take("loss", loss_);
  take("norm", norm_);
  num_bad_ = get("bad", 0);
  num_good_ = get("good", 0);
}

}  // namespace kiln
