#include <fmt/format.h>

#include "models/contrast/information.h"
#include "models/contrast/losses.h"
#include "tests/parity/runners.h"

// Losses of given vectors: NT-Xent; margin loss, InfoNCE, mutual information.

namespace kiln::parity {
namespace {

at::Tensor leaf(const at::Tensor& tensor) { return tensor.detach().clone().requires_grad_(true); }

void run_ntxent(Case& reference, Report& report) {
  const nlohmann::json& settings = reference.info.at("settings");
  const auto temperatures = settings.at("temperatures").get<std::vector<double>>();
  for (std::size_t i = 0; i < temperatures.size(); ++i) {
    const at::Tensor z = leaf(reference.input("z"));
    const at::Tensor rows = nt_xent(z, temperatures[i]);
    const at::Tensor loss = rows.mean();
    loss.backward();
    report.compare(fmt::format("loss.{}", i), loss);
    report.compare(fmt::format("rows.{}", i), rows);
    report.compare(fmt::format("two_directions.{}", i), 2.0 * loss);
    report.compare(fmt::format("grad.z.{}", i), z.grad());
  }
  const auto golden = settings.at("golden_temperatures").get<std::vector<double>>();
  for (const std::string name : {"orthonormal", "sines"}) {
    std::vector<at::Tensor> losses;
    for (const double temperature : golden) {
      losses.push_back(nt_xent(reference.at("golden." + name), temperature).mean());
    }
    report.compare("golden_loss." + name, at::stack(losses));
  }
}

void compare_margin(const Case& reference, const nlohmann::json& settings, Report& report) {
  const auto margins = settings.at("margins").get<std::vector<double>>();
  for (std::size_t i = 0; i < margins.size(); ++i) {
    const at::Tensor a = leaf(reference.input("margin.a")), b = leaf(reference.input("margin.b"));
    const at::Tensor loss =
        margin_loss(a, b, reference.at("margin.y").to(at::kBool), margins[i]).mean();
    loss.backward();
    report.compare(fmt::format("margin.loss.{}", i), loss);
    report.compare(fmt::format("margin.grad.a.{}", i), a.grad());
    report.compare(fmt::format("margin.grad.b.{}", i), b.grad());
  }
}

void compare_info_nce(const Case& reference, const nlohmann::json& settings, Report& report) {
  const auto temperatures = settings.at("temperatures").get<std::vector<double>>();
  const at::Tensor queue = reference.input("nce.queue").t();
  for (std::size_t i = 0; i < temperatures.size(); ++i) {
    for (const std::string kind : {"queue", "batch"}) {
      const at::Tensor q = leaf(reference.input("nce.q")), k = leaf(reference.input("nce.k"));
      const at::Tensor losses =
          kind == "queue"
              ? info_nce_with_queue(unit_rows(q), unit_rows(k), queue, temperatures[i]).losses
              : info_nce_in_batch(unit_rows(q), unit_rows(k), temperatures[i]);
      const at::Tensor loss = losses.mean();
      loss.backward();
      report.compare(fmt::format("nce.{}_loss.{}", kind, i), loss);
      report.compare(fmt::format("nce.grad.{}.q.{}", kind, i), q.grad());
      report.compare(fmt::format("nce.grad.{}.k.{}", kind, i), k.grad());
      if (kind == "queue") continue;
      const at::Tensor scores = unit_rows(q).matmul(unit_rows(k).t()) / temperatures[i];
      report.compare(fmt::format("nce.batch_bound.{}", i), info_nce_bound(scores));
    }
  }
}

void compare_information(const Case& reference, const nlohmann::json& settings, Report& report) {
  for (int i = 0; i < settings.at("tables").get<int>(); ++i) {
    const at::Tensor joint = leaf(reference.at(fmt::format("mi.p.{}", i)));
    const at::Tensor nats = mutual_information(joint);
    report.compare(fmt::format("mi.nats.{}", i), nats);
    report.compare(fmt::format("mi.bits.{}", i), nats / std::log(2.0));
    if (!reference.has(fmt::format("mi.grad.p.{}", i))) continue;
    nats.backward();
    report.compare(fmt::format("mi.grad.p.{}", i), joint.grad());
  }
  const double rho = settings.at("rho");
  const at::Tensor& x = reference.at("gauss.x");
  const at::Tensor scores = leaf(gaussian_critic(x, reference.at("gauss.y"), rho));
  const at::Tensor bound = info_nce_bound(scores);
  bound.backward();
  report.compare("gauss.scores_row0", scores[0]);
  report.compare("gauss.info_nce", bound);
  report.compare("gauss.grad.scores_row0", scores.grad()[0]);
  report.compare("gauss.true", at::scalar_tensor(gaussian_information(rho), at::kDouble));
  report.compare("gauss.log_n",
                 at::scalar_tensor(std::log(static_cast<double>(x.numel())), at::kDouble));
}

void run_contrastive(Case& reference, Report& report) {
  const nlohmann::json& settings = reference.info.at("settings");
  compare_margin(reference, settings, report);
  compare_info_nce(reference, settings, report);
  compare_information(reference, settings, report);
}

}  // namespace

Runners contrast_runners() {
  return {{.name = "ntxent", .run = run_ntxent}, {.name = "contrastive", .run = run_contrastive}};
}

}  // namespace kiln::parity
