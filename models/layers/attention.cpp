#include "models/layers/attention.h"

#include "core/base/error.h"
#include "models/operators/fused.h"

namespace kiln {

Attention::Attention(const AttentionOptions& choice, const at::TensorOptions& options)
    : attention(choice) {
  KILN_CHECK(choice.dim % choice.heads == 0, "width {} over {} heads", choice.dim, choice.heads);
  qkv = register_module(
      "qkv", std::make_shared<Linear>(choice.dim, 3 * choice.dim, options, choice.has_qkv_bias));
  proj = register_module("proj", std::make_shared<Linear>(choice.dim, choice.dim, options));
}

at::Tensor Attention::mix(const at::Tensor& x, const at::Tensor& mask, DropoutStream& drop) const {
  return fused_self_attend(qkv->forward(x), attention.heads, mask, attention.dropout, drop);
}

at::Tensor Attention::forward(const at::Tensor& x, const at::Tensor& mask,
                              DropoutStream& drop) const {
  return proj->forward(mix(x, mask, drop));
}

}  // namespace kiln
