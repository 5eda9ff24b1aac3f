#include <fmt/format.h>

#include "core/torch.h"
#include "models/measures/density.h"
#include "models/measures/mixture.h"
#include "tests/parity/runners.h"

namespace kiln::parity {
namespace {

void run_mixture(const Case& reference, Report& report) {
  const nlohmann::json& info = reference.config.at("em");
  const at::Tensor data = reference.at("em.data");
  const double ridge = info.at("reg_covar");
  Mixture mixture{reference.at("em.weights.0"), reference.at("em.means.0"),
                  reference.at("em.covariances.0")};
  std::vector<double> likelihoods = {mixture.log_density(data).mean().item<double>()};
  for (int i = 1; i <= info.at("iterations").get<int>(); ++i) {
    mixture = em_step(mixture, data, ridge);
    likelihoods.push_back(mixture.log_density(data).mean().item<double>());
    report.compare(fmt::format("em.weights.{}_f64", i), mixture.weights);
    report.compare(fmt::format("em.means.{}_f64", i), mixture.means);
    report.compare(fmt::format("em.covariances.{}_f64", i), mixture.covariances);
    report.expect(likelihoods.back() >= likelihoods.end()[-2] - 1e-6,
                  fmt::format("em: the likelihood falls in iteration {}", i));
  }
  report.compare("em.mean_log_likelihood_f64", at::tensor(likelihoods, at::kDouble));
  report.compare("em.responsibilities_f64", mixture.responsibilities(data));
  report.compare("em.log_density_f64", mixture.log_density(data));
  report.compare("em.query_log_density_f64", mixture.log_density(reference.at("em.query")));
}

void run_kernel(const Case& reference, const nlohmann::json& info, Report& report) {
  const std::string kernel = info.at("kernel");
  const double bandwidth = info.at("bandwidth");
  const std::string name = fmt::format("kde.{}.h{}", kernel, bandwidth);
  const at::Tensor found = kernel_log_density(
      reference.at("kde.data"), reference.at("kde.query"), bandwidth,
      kernel == "gaussian" ? DensityKernel::kGaussian : DensityKernel::kEpanechnikov);
  const at::Tensor is_defined = found.isfinite();
  report.compare(name + ".defined", is_defined.to(at::kByte));
  report.compare(name + ".log_density_f64", found.masked_fill(is_defined.logical_not(), 0.0));
}

bool is_density(const Case& reference) { return reference.config.value("model", "") == "density"; }

void run_density(Case& reference, Report& report) {
  run_mixture(reference, report);
  for (const auto& info : reference.config.at("kde")) run_kernel(reference, info, report);
  for (const auto& k : reference.config.at("knn")) {
    const NeighbourDensity found =
        neighbour_density(reference.at("kde.data"), reference.at("kde.query"), k.get<int>());
    report.compare(fmt::format("knn.k{}.radius_f64", k.get<int>()), found.radius);
    report.compare(fmt::format("knn.k{}.log_density_f64", k.get<int>()), found.log_density);
  }
}

}  // namespace

Runners density_runners() { return {{.name = "em", .fits = is_density, .run = run_density}}; }

}  // namespace kiln::parity
