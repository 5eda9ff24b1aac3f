#include "models/measures/mixture.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/torch.h"

namespace kiln {
namespace {

double mean_log_likelihood(const at::Tensor& log_terms) {
  return log_terms.logsumexp(1).mean().item<double>();
}

/// Maximisation: from responsibilities [N, K].
Mixture maximised(const at::Tensor& responsibilities, const at::Tensor& x, double ridge) {
  const at::Tensor counts =
      responsibilities.sum(0) + 10 * std::numeric_limits<double>::epsilon();  // [K]
  Mixture next;
  next.weights = counts / static_cast<double>(x.size(0));
  next.means = responsibilities.t().mm(x) / counts.unsqueeze(1);
  std::vector<at::Tensor> covariances;
  const at::Tensor diagonal = at::eye(x.size(1), at::kDouble) * ridge;
  for (std::int64_t k = 0; k < counts.size(0); ++k) {
    const at::Tensor centred = x - next.means[k];
    const at::Tensor scatter = centred.t().mm(centred * responsibilities.select(1, k).unsqueeze(1));
    covariances.push_back(scatter / counts[k] + diagonal);
  }
  next.covariances = at::stack(covariances);
  return next;
}

/// k-means++: each next mean is a point drawn in proportion to its squared distance to those there
/// are.
at::Tensor spread_means(const at::Tensor& x, std::int64_t k, const Philox& stream) {
  std::vector<at::Tensor> means = {x[stream.below(x.size(0), 0)]};
  at::Tensor nearest = (x - means[0]).square().sum(1);
  while (std::ssize(means) < k) {
    const at::Tensor cumulative = nearest.cumsum(0);
    const double drawn =
        static_cast<double>(stream.uniform(4 * means.size())) * cumulative[-1].item<double>();
    const at::Tensor place = at::searchsorted(cumulative, at::scalar_tensor(drawn, at::kDouble),
                                              /*out_int32=*/false, /*right=*/true);
    means.push_back(x[std::min(place.item<std::int64_t>(), x.size(0) - 1)]);
    nearest = at::minimum(nearest, (x - means.back()).square().sum(1));
  }
  return at::stack(means);
}

Mixture first_guess(const at::Tensor& x, const EmOptions& options, std::int64_t attempt) {
  const std::int64_t k = options.components, dim = x.size(1);
  const double variance = x.var(0, /*unbiased=*/false).mean().item<double>();
  const double spread =
      variance / std::pow(static_cast<double>(k), 2.0 / static_cast<double>(dim)) + options.ridge;
  return {.weights = at::full({k}, 1.0 / static_cast<double>(k), at::kDouble),
          .means = spread_means(x, k, Philox(options.seed, Purpose::kStart, attempt)),
          .covariances = (at::eye(dim, at::kDouble) * spread).expand({k, dim, dim}).contiguous()};
}

/// Standard normal points [S, D]: quantiles of equal shares in one dimension, Philox's and their
/// mirror images in more.
at::Tensor standard_points(std::int64_t dim, std::uint64_t seed) {
  constexpr std::int64_t kPoints = 1024;
  if (dim == 1) {
    const at::Tensor u = (at::arange(kPoints, at::kDouble) + 0.5) / static_cast<double>(kPoints);
    return (at::erfinv(2.0 * u - 1.0) * std::numbers::sqrt2).unsqueeze(1);
  }
  at::Tensor half = at::empty({kPoints / 2, dim}, at::kFloat);
  fill_normal(Philox(seed, Purpose::kEvaluation, 0), half.data_ptr<float>(), half.numel());
  return at::cat({half, -half}).to(at::kDouble);
}

}  // namespace

at::Tensor Mixture::log_terms(const at::Tensor& x) const {
  const std::int64_t dim = x.size(1);
  std::vector<at::Tensor> terms;
  for (std::int64_t k = 0; k < num_components(); ++k) {
    const at::Tensor factor = at::linalg_cholesky(covariances[k]);
    const at::Tensor z =
        at::linalg_solve_triangular(factor, (x - means[k]).t(), /*upper=*/false);  // [D, N]
    terms.push_back(
        weights[k].log() - factor.diagonal().log().sum() -
        0.5 * (z.square().sum(0) + static_cast<double>(dim) * std::log(2 * std::numbers::pi)));
  }
  return at::stack(terms, 1);
}

at::Tensor Mixture::log_density(const at::Tensor& x) const { return log_terms(x).logsumexp(1); }

at::Tensor Mixture::responsibilities(const at::Tensor& x) const { return log_terms(x).softmax(1); }

Mixture em_step(const Mixture& mixture, const at::Tensor& x, double ridge) {
  return maximised(mixture.responsibilities(x), x, ridge);
}

EmFit fit_mixture(const Mixture& start, const at::Tensor& x, const EmOptions& options) {
  EmFit fit{.mixture = start};
  at::Tensor terms = start.log_terms(x);
  fit.log_likelihoods.push_back(mean_log_likelihood(terms));
  for (std::int64_t i = 0; i < options.max_iterations && !fit.has_converged; ++i) {
    fit.mixture = maximised(terms.softmax(1), x, options.ridge);
    terms = fit.mixture.log_terms(x);
    fit.log_likelihoods.push_back(mean_log_likelihood(terms));
    const double rise = fit.log_likelihoods.back() - fit.log_likelihoods.end()[-2];
    fit.has_converged = rise < options.tolerance;
  }
  return fit;
}

EmFit fit_mixture(const at::Tensor& x, const EmOptions& options) {
  if (options.components < 1 || options.components > x.size(0)) {
    throw usage_error("a mixture of {} components for {} points: choose 1 to {}",
                      options.components, x.size(0), x.size(0));
  }
  EmFit best;
  for (std::int64_t attempt = 0; attempt < std::max<std::int64_t>(options.attempts, 1); ++attempt) {
    EmFit fit = fit_mixture(first_guess(x, options, attempt), x, options);
    if (attempt == 0 || fit.log_likelihoods.back() > best.log_likelihoods.back()) {
      best = std::move(fit);
    }
  }
  return best;
}

ReverseFit fit_reverse_kl(const Mixture& mixture, const Normal& start, std::uint64_t seed) {
  constexpr std::int64_t kSteps = 300;
  constexpr double kRate = 0.05;
  const std::int64_t dim = start.mean.size(0);
  const at::Tensor points = standard_points(dim, seed);
  const at::Tensor factor = at::linalg_cholesky(start.covariance);
  // The Cholesky factor as its strict lower part and the logarithms of its diagonal.
  std::vector<at::Tensor> parameters = {start.mean.clone(), factor.tril(-1),
                                        factor.diagonal().log()};
  for (at::Tensor& parameter : parameters) parameter.requires_grad_(true);
  const auto factor_now = [&] { return parameters[1].tril(-1) + parameters[2].exp().diag(); };
  const double entropy_constant =
      0.5 * static_cast<double>(dim) * (1 + std::log(2 * std::numbers::pi));
  const auto kl = [&] {
    const at::Tensor x = parameters[0] + points.mm(factor_now().t());
    return -mixture.log_density(x).mean() - parameters[2].sum() - entropy_constant;
  };
  std::vector<at::Tensor> first(3), second(3);
  for (std::int64_t step = 1; step <= kSteps; ++step) {
    const auto gradients = torch::autograd::grad({kl()}, parameters);
    const at::NoGradGuard no_grad;
    const double rate =
        kRate * 0.5 *
        (1 + std::cos(std::numbers::pi * static_cast<double>(step) / static_cast<double>(kSteps)));
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor& g = gradients[i];
      first[i] = step == 1 ? g * 0.1 : first[i] * 0.9 + g * 0.1;
      second[i] = step == 1 ? g.square() * 0.01 : second[i] * 0.99 + g.square() * 0.01;
      const double n = static_cast<double>(step);
      const at::Tensor m = first[i] / (1 - std::pow(0.9, n)),
                       v = second[i] / (1 - std::pow(0.99, n));
      parameters[i].sub_(m / (v.sqrt() + 1e-12) * rate);
    }
  }
  const at::NoGradGuard no_grad;
  const at::Tensor last = factor_now();
  return {.normal = {parameters[0].detach().clone(), last.mm(last.t())}, .kl = kl().item<double>()};
}

Normal moments(const Mixture& mixture) {
  const at::Tensor mean = mixture.weights.matmul(mixture.means);
  const at::Tensor shift = mixture.means - mean;  // [K, D]
  const at::Tensor within = (mixture.covariances * mixture.weights.view({-1, 1, 1})).sum(0);
  return {mean, within + shift.t().mm(shift * mixture.weights.unsqueeze(1))};
}

}  // namespace kiln
