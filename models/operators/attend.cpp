#include "models/operators/attend.h"

#include <cmath>
#include <limits>
#include <optional>

#include "core/torch.h"
#include "models/operators/attention_choice.h"
#include "models/operators/host_tensors.h"

namespace kiln {
namespace {

at::Tensor additive(const at::Tensor& mask, const at::Tensor& like) {
  if (mask.scalar_type() != at::kBool) return mask;
  const double lowest = -std::numeric_limits<double>::infinity();
  return at::zeros(mask.sizes(), like.options()).masked_fill_(mask.logical_not(), lowest);
}

// Of the GPU's kernels none takes a mask of bools.
at::Tensor attend_on_device(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            at::Tensor mask, const std::optional<DropoutSite>& site) {
  mask = mask_for(mask, q);
  while (mask.defined() && mask.dim() < 4) mask = mask.unsqueeze(0);
  AttentionDropout dropout;
  if (site) {
    const auto words = site->stream.block(site->first_block);
    dropout = {site->p, std::uint64_t{words[0]} << 32 | words[1]};
  }
  return device_attention().attend(q, k, v, mask, dropout);
}

}  // namespace

at::Tensor mask_for(const at::Tensor& mask, const at::Tensor& x) {
  return mask.defined() && runs_in_device_loops(x) ? additive(mask, x) : mask;
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& mask, double p, DropoutStream& drop) {
  if (runs_in_device_loops(q)) return attend_on_device(q, k, v, mask, drop.site(p));
  if (!drop.is_active() || p == 0.0) {
    return at::scaled_dot_product_attention(q, k, v, maybe(mask));
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  at::Tensor scores = at::matmul(q * scale, k.transpose(-2, -1));  // [B, H, L, S]
  if (mask.defined()) scores = scores + additive(mask, scores);
  // Softmax in fp32: bf16 has too few digits for the small weights.
  const auto type = scores.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor weights = at::softmax(scores, -1, type).to(q.scalar_type());
  return at::matmul(drop.dropout(weights, p), v);
}

}  // namespace kiln
