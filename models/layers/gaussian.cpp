#include "models/layers/gaussian.h"

#include "core/torch.h"

namespace kiln {

DiagonalGaussian DiagonalGaussian::from_moments(const at::Tensor& moments) {
  const at::Tensor wide = moments.scalar_type() == at::kDouble ? moments : moments.to(at::kFloat);
  const auto halves = wide.chunk(2, 1);
  return {halves[0], halves[1].clamp(-30.0, 20.0)};
}

at::Tensor DiagonalGaussian::sample(const at::Tensor& noise) const {
  return mean + (log_variance * 0.5).exp() * noise;
}

at::Tensor DiagonalGaussian::kl() const {
  return (mean.square() + log_variance.exp() - 1.0 - log_variance).flatten(1).sum(1) * 0.5;
}

}  // namespace kiln
