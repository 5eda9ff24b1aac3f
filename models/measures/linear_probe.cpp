#include "models/measures/linear_probe.h"

#include <torch/optim/lbfgs.h>

#include "core/torch.h"

namespace kiln {
namespace {

constexpr double kVarianceEps = 1e-6;

}  // namespace

at::Tensor LinearProbe::standardise(const at::Tensor& features) const {
  return (features.to(at::kFloat) - mean_) * inverse_deviation_;
}

LinearProbe LinearProbe::fit(const LabelledFeatures& train, std::int64_t num_classes,
                             const ProbeOptions& options) {
  LinearProbe probe;
  const at::Tensor raw = train.features.to(at::kFloat);
  const auto [variance, mean] = at::var_mean(raw, at::IntArrayRef{0}, /*correction=*/0, false);
  probe.mean_ = mean;
  probe.inverse_deviation_ = (variance + kVarianceEps).rsqrt();
  const at::Tensor x = probe.standardise(raw);
  probe.weight_ = at::zeros({num_classes, x.size(1)}, x.options()).set_requires_grad(true);
  probe.bias_ = at::zeros({num_classes}, x.options()).set_requires_grad(true);
  torch::optim::LBFGS optimizer(std::vector<at::Tensor>{probe.weight_, probe.bias_},
                                torch::optim::LBFGSOptions(1.0)
                                    .max_iter(options.max_iterations)
                                    .history_size(10)
                                    .line_search_fn("strong_wolfe"));
  optimizer.step([&] {
    optimizer.zero_grad();
    const at::Tensor logits = at::linear(x, probe.weight_, probe.bias_);
    const at::Tensor loss = at::cross_entropy_loss(logits, train.labels) +
                            probe.weight_.square().sum() * (options.weight_decay / 2);
    loss.backward();
    return loss;
  });
  probe.weight_ = probe.weight_.detach();
  probe.bias_ = probe.bias_.detach();
  return probe;
}

at::Tensor LinearProbe::scores(const at::Tensor& features) const {
  return at::linear(standardise(features), weight_, bias_);
}

at::Tensor LinearProbe::predict(const at::Tensor& features) const {
  return scores(features).argmax(1);
}

}  // namespace kiln
