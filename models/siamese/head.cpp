#include "models/siamese/head.h"

#include <cmath>

#include "models/layers/init.h"
#include "models/layers/submodule.h"

namespace kiln {

MlpHead::MlpHead(std::int64_t in, const std::vector<HeadLayer>& layers,
                 const at::TensorOptions& options)
    : layers_(layers) {
  std::int64_t position = 0;
  for (const HeadLayer& layer : layers_) {
    linears_.push_back(
        add<Linear>(*this, std::to_string(position++), in, layer.width, options, layer.has_bias));
    norms_.push_back(nullptr);
    if (layer.has_norm) {
      const BatchNormOptions choice{.has_scale = layer.has_norm_scale,
                                    .has_shift = layer.has_norm_shift};
      norms_.back() =
          add<BatchNorm>(*this, std::to_string(position++), layer.width, options, choice);
    }
    if (layer.activation != HeadLayer::Activation::kNone) ++position;
    in = layer.width;
  }
}

at::Tensor MlpHead::forward(const at::Tensor& x, BatchNormMode mode) const {
  at::Tensor h = x.to(linears_[0]->weight.scalar_type());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    h = linears_[i]->forward(h);
    const bool has_relu = layers_[i].activation == HeadLayer::Activation::kRelu;
    if (norms_[i]) {
      h = has_relu ? norms_[i]->forward_relu(h, mode) : norms_[i]->forward(h, mode);
    } else if (has_relu) {
      h = at::relu(h);
    }
    if (layers_[i].activation == HeadLayer::Activation::kGelu) h = at::gelu(h);
  }
  return h.scalar_type() == at::kDouble ? h : h.to(at::kFloat);
}

std::vector<HeadLayer> normed_head(std::int64_t count, std::int64_t hidden, std::int64_t out,
                                   LastNorm last) {
  std::vector<HeadLayer> layers(static_cast<std::size_t>(count),
                                {.width = hidden,
                                 .has_bias = false,
                                 .has_norm = true,
                                 .activation = HeadLayer::Activation::kRelu});
  layers.push_back({.width = out,
                    .has_bias = false,
                    .has_norm = last != LastNorm::kNone,
                    .has_norm_scale = last == LastNorm::kScale || last == LastNorm::kScaleAndShift,
                    .has_norm_shift = last == LastNorm::kScaleAndShift});
  return layers;
}

std::size_t initialise_head(const torch::nn::Module& head, HeadInit init, std::uint64_t seed,
                            std::size_t first) {
  const at::NoGradGuard no_grad;
  double bound = 0.0;  // of the bias that follows its weight
  for (const auto& item : head.named_parameters()) {
    at::Tensor tensor = item.value();
    const Philox stream = init_stream(seed, first++);
    const bool is_matrix = tensor.dim() > 1;
    if (is_matrix) bound = 1.0 / std::sqrt(static_cast<double>(tensor.size(1)));
    if (is_matrix && init == HeadInit::kTruncated) {
      fill_truncated_normal(tensor, 0.02, stream);
    } else if (is_matrix && init == HeadInit::kNormal) {
      fill_normal(tensor, 0.01, stream);
    } else if (is_matrix) {
      fill_uniform(tensor, bound, stream);
    } else {
      tensor.fill_(item.key().ends_with(".bias") ? 0.0 : 1.0);
    }
    // The bias of a linear layer comes just after its weight, a norm's after a scale.
    if (is_matrix) continue;
    if (bound > 0.0 && init == HeadInit::kUniform && item.key().ends_with(".bias")) {
      fill_uniform(tensor, bound, stream);
    }
    bound = 0.0;
  }
  return first;
}

}  // namespace kiln
