#include "models/layers/patch_embed.h"

#include "models/operators/matmul.h"

namespace kiln {

PatchEmbed::Projection::Projection(std::int64_t channels, std::int64_t patch, std::int64_t dim,
                                   const at::TensorOptions& options) {
  weight = register_parameter("weight", at::empty({dim, channels, patch, patch}, options));
  bias = register_parameter("bias", at::empty({dim}, options));
}

PatchEmbed::PatchEmbed(std::int64_t channels, std::int64_t patch, std::int64_t dim,
                       const at::TensorOptions& options) {
  proj = register_module("proj", std::make_shared<Projection>(channels, patch, dim, options));
}

at::Tensor PatchEmbed::forward(const at::Tensor& patches) const {
  // The convolution's weights have the channel first, patches have it last.
  const at::Tensor rows = proj->weight.permute({0, 2, 3, 1}).reshape({proj->weight.size(0), -1});
  return linear_product(patches, rows, proj->bias);
}

}  // namespace kiln
