#include "models/diffusion/schedule.h"
#include "models/diffusion/variance_bound.h"
#include "tests/parity/runners.h"

// The bound of a learned variance, without a network.

namespace kiln::parity {
namespace {

bool is_bound(const Case& reference) {
  return reference.has("betas_table") && reference.has("eps") && reference.has("v");
}

void run_diffusion_vlb(Case& reference, Report& report) {
  const Bound output{0.0, 1e-5}, gradient{0.0, 1e-4};
  const at::Tensor betas = reference.at("betas_table").cpu().contiguous();
  const BetaSchedule schedule = schedule_from_betas(
      {betas.const_data_ptr<double>(), betas.const_data_ptr<double>() + betas.numel()});
  const at::Tensor x0 = reference.input("x0"), noise = reference.input("noise");
  const at::Tensor& times = reference.at("timesteps");
  std::vector<double> signal, sigma;
  for (std::int64_t i = 0; i < times.numel(); ++i) {
    const NoiseLevel level = schedule.level(times[i].item<std::int64_t>());
    signal.push_back(level.signal);
    sigma.push_back(level.noise);
  }
  const auto column = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).to(reference.options()).view({-1, 1, 1, 1});
  };
  const at::Tensor x = column(signal) * x0 + column(sigma) * noise;
  const at::Tensor eps = reference.input("eps").clone().requires_grad_();
  const at::Tensor v = reference.input("v").clone().requires_grad_();
  const VarianceBound bound(schedule);
  const at::Tensor x0_model = (x - column(sigma) * eps.detach()) / column(signal);
  const at::Tensor bits = bound({x0, x, x0_model, v, times});
  const at::Tensor mse = (eps - noise).square().mean();
  const at::Tensor loss = mse + bits.mean();
  loss.backward();
  report.compare("x_t_f64", x, output);
  report.compare("model_log_variance_f64", bound.log_variance(v, times), output);
  report.compare("mse_f64", mse, output);
  report.compare("vb_per_sample_f64", bits, output);
  report.compare("loss_f64", loss, output);
  report.compare("grad.eps_f64", eps.grad(), gradient);
  report.compare("grad.v_f64", v.grad(), gradient);
}

}  // namespace

Runners bound_runners() {
  return {{.name = "diffusion_vlb", .fits = is_bound, .run = run_diffusion_vlb}};
}

}  // namespace kiln::parity
