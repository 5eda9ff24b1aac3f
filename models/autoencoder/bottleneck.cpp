#include "models/autoencoder/bottleneck.h"

#include "core/torch.h"
#include "models/operators/precision.h"

namespace kiln {
Quantised quantise(const at::Tensor& z, const at::Tensor& codes) {
  const at::Tensor pixels = at_least_fp32(z).permute({0, 2, 3, 1});  // [B, h, w, E]
  const at::Tensor rows = pixels.detach().reshape({-1, z.size(1)});  // [B h w, E]
  const at::Tensor book = at_least_fp32(codes);
  const at::Tensor detached = book.detach();
  const at::Tensor distance =  // without |row|^2, which is the same for all codes
      at::addmm(detached.square().sum(1), rows, detached.t(), 1.0, -2.0);
  const at::Tensor indices = distance.argmin(1);
  const at::Tensor nearest = book.index_select(0, indices).view(pixels.sizes());
  Quantised result;
  result.indices = indices.view({z.size(0), z.size(2), z.size(3)});
  result.code_loss = (nearest - pixels.detach()).square().mean();
  result.commit_loss = (nearest.detach() - pixels).square().mean();
  result.z_q = (pixels + (nearest - pixels).detach()).permute({0, 3, 1, 2});
  return result;
}

at::Tensor quantisation_loss(const Quantised& quantised, double beta, bool is_legacy) {
  return is_legacy ? quantised.commit_loss + beta * quantised.code_loss
                   : quantised.code_loss + beta * quantised.commit_loss;
}

}  // namespace kiln
