#include "models/layers/block.h"

#include <torch/nn/modules/container/modulelist.h>

namespace kiln {

Mlp::Mlp(std::int64_t dim, std::int64_t mlp_dim, bool tanh_gelu, const at::TensorOptions& options)
    : has_tanh_gelu(tanh_gelu) {
  fc1 = register_module("fc1", std::make_shared<Linear>(dim, mlp_dim, options));
  fc2 = register_module("fc2", std::make_shared<Linear>(mlp_dim, dim, options));
}

at::Tensor Mlp::forward(const at::Tensor& x) const { return without_bias(x) + fc2->bias; }

at::Tensor Mlp::without_bias(const at::Tensor& x) const {
  return fused_mlp(x, {fc1->weight, fc1->bias, fc2->weight}, has_tanh_gelu);
}

TransformerBlock::TransformerBlock(const BlockOptions& choice, const at::TensorOptions& options)
    : block(choice) {
  const AttentionOptions attention{choice.dim, choice.heads, choice.has_qkv_bias,
                                   choice.attention_dropout};
  norm1 = register_module("norm1",
                          std::make_shared<LayerNorm>(choice.dim, choice.layer_norm_eps, options));
  attn = register_module("attn", std::make_shared<Attention>(attention, options));
  norm2 = register_module("norm2",
                          std::make_shared<LayerNorm>(choice.dim, choice.layer_norm_eps, options));
  mlp = register_module(
      "mlp", std::make_shared<Mlp>(choice.dim, choice.mlp_dim, choice.has_tanh_gelu, options));
}

// x + dropout(y + bias), its norm, or both.
ResidualNormOutput TransformerBlock::join(const at::Tensor& x, const at::Tensor& y,
                                          const Linear& last, const LayerNorm* norm,
                                          DropoutStream& drop) const {
  ResidualNormInput input{.x = x, .y = y, .bias = last.bias, .dropout = block.dropout};
  input.has_norm = norm != nullptr;
  if (norm) {
    input.gamma = norm->weight;
    input.beta = norm->bias;
    input.eps = norm->eps;
  }
  return fused_residual_norm(input, drop);
}

at::Tensor TransformerBlock::forward(const at::Tensor& x, const at::Tensor& mask,
                                     DropoutStream& drop) const {
  return forward_rows(x, mask, drop, [](const at::Tensor& all) { return all; });
}

at::Tensor TransformerBlock::forward_rows(const at::Tensor& all, const at::Tensor& mask,
                                          DropoutStream& drop, const Pick& pick) const {
  if (block.drop_path > 0.0 && drop.is_active()) {
    return pick(forward_with_drop_path(all, mask, drop));
  }
  const bool is_post = block.order == NormOrder::kPost;
  const at::Tensor mixed = attn->mix(is_post ? all : norm1->forward(all), mask, drop);
  const at::Tensor x = pick(all);
  const at::Tensor attended = fused_linear(pick(mixed), attn->proj->weight, {});
  if (is_post) {
    const at::Tensor h = join(x, attended, *attn->proj, norm1.get(), drop).n;
    return join(h, mlp->without_bias(h), *mlp->fc2, norm2.get(), drop).n;
  }
  const auto [h, n] = join(x, attended, *attn->proj, norm2.get(), drop);
  return join(h, mlp->without_bias(n), *mlp->fc2, nullptr, drop).h;
}

at::Tensor TransformerBlock::forward_with_drop_path(const at::Tensor& x, const at::Tensor& mask,
                                                    DropoutStream& drop) const {
  const auto branch = [&](const at::Tensor& output) {
    return drop.drop_path(drop.dropout(output, block.dropout), block.drop_path);
  };
  if (block.order == NormOrder::kPost) {
    const at::Tensor h = norm1->forward(x + branch(attn->forward(x, mask, drop)));
    return norm2->forward(h + branch(mlp->forward(h)));
  }
  const at::Tensor h = x + branch(attn->forward(norm1->forward(x), mask, drop));
  return h + branch(mlp->forward(norm2->forward(h)));
}

std::vector<std::shared_ptr<TransformerBlock>> make_blocks(
    torch::nn::Module& owner, const std::string& name, const BlockOptions& block,
    std::int64_t depth, double last_drop_path, const at::TensorOptions& options) {
  std::vector<std::shared_ptr<TransformerBlock>> blocks;
  auto list = owner.register_module(name, torch::nn::ModuleList());
  for (std::int64_t i = 0; i < depth; ++i) {
    BlockOptions own = block;
    own.drop_path =
        depth < 2 ? 0.0 : last_drop_path * static_cast<double>(i) / static_cast<double>(depth - 1);
    blocks.push_back(std::make_shared<TransformerBlock>(own, options));
    list->push_back(blocks.back());
  }
  return blocks;
}

}  // namespace kiln
