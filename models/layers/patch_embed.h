#pragma once

#include <cstdint>

#include "core/torch.h"

namespace kiln {

/// A convolution of stride p over p x p patches, as the matrix product it is: patches may be left
/// out or come in any order.
struct PatchEmbed : torch::nn::Module {
  PatchEmbed(std::int64_t channels, std::int64_t patch, std::int64_t dim,
             const at::TensorOptions& options);
  /// [..., p * p * C] in the order row, column, channel -> [..., D]
  at::Tensor forward(const at::Tensor& patches) const;

  /// The convolution under its usual name and shape [D, C, p, p].
  struct Projection : torch::nn::Module {
    Projection(std::int64_t channels, std::int64_t patch, std::int64_t dim,
               const at::TensorOptions& options);
    at::Tensor weight, bias;
  };
  std::shared_ptr<Projection> proj;
};

}  // namespace kiln
