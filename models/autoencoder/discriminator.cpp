#include "models/autoencoder/discriminator.h"

#include <algorithm>
#include <string>

#include "models/layers/init.h"

namespace kiln {

BatchNorm2d::BatchNorm2d(std::int64_t channels, const at::TensorOptions& options) {
  weight = register_parameter("weight", at::empty({channels}, options));
  bias = register_parameter("bias", at::empty({channels}, options));
}

at::Tensor BatchNorm2d::forward(const at::Tensor& x) const {
  return at::batch_norm(x, weight, bias, {}, {}, /*training=*/true, /*momentum=*/0.0, 1e-5,
                        /*cudnn_enabled=*/true);
}

PatchDiscriminator::PatchDiscriminator(std::int64_t image_channels, std::int64_t channels,
                                       std::int64_t layers, const at::TensorOptions& options) {
  const auto main = register_module("main", std::make_shared<torch::nn::Module>());
  std::int64_t position = 0;  // in the published list, where activations count too
  std::int64_t in = image_channels;
  for (std::int64_t i = 0; i <= layers + 1; ++i) {
    const bool is_first = i == 0, is_last = i == layers + 1;
    const std::int64_t out = is_last ? 1 : channels << std::min<std::int64_t>(i, 3);
    const std::int64_t stride = i < layers ? 2 : 1;
    const bool has_norm = !is_first && !is_last;
    Stage stage;
    stage.conv = main->register_module(
        std::to_string(position),
        std::make_shared<Conv2d>(in, out, 4, options, stride, 1, /*has_bias=*/!has_norm));
    if (has_norm) {
      stage.norm = main->register_module(std::to_string(position + 1),
                                         std::make_shared<BatchNorm2d>(out, options));
    }
    position += has_norm ? 3 : 2;
    stages.push_back(stage);
    in = out;
  }
}

at::Tensor PatchDiscriminator::forward(const at::Tensor& image) const {
  at::Tensor x = image;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    x = stages[i].conv->forward(x);
    if (stages[i].norm) x = stages[i].norm->forward(x);
    if (i + 1 < stages.size()) x = at::leaky_relu(x, 0.2);
  }
  return x;
}

void initialise_discriminator(PatchDiscriminator& network, std::uint64_t seed,
                              std::size_t first_index) {
  const at::NoGradGuard no_grad;
  for (const auto& item : network.named_parameters()) {
    at::Tensor tensor = item.value();
    const Philox stream = init_stream(seed, first_index++);
    if (item.key().ends_with("bias")) {
      tensor.zero_();
      continue;
    }
    fill_normal(tensor, 0.02, stream);
    if (tensor.dim() == 1) tensor.add_(1.0);
  }
}

at::Tensor hinge_loss(const at::Tensor& real, const at::Tensor& made) {
  return (at::relu(1.0 - real).mean() + at::relu(1.0 + made).mean()) * 0.5;
}

at::Tensor adaptive_weight(const at::Tensor& nll, const at::Tensor& adversarial,
                           const at::Tensor& last_layer) {
  const auto norm_of_gradient = [&](const at::Tensor& loss) {
    return torch::autograd::grad({loss}, {last_layer}, {}, /*retain_graph=*/true)[0]
        .to(at::kDouble)
        .norm();
  };
  const at::Tensor ratio = norm_of_gradient(nll) / (norm_of_gradient(adversarial) + 1e-4);
  return ratio.clamp(0.0, 1e4).detach().to(nll.scalar_type());
}

}  // namespace kiln
