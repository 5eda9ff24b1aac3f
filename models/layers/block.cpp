#include "models/layers/block.h"

namespace kiln {

Mlp::Mlp(std::int64_t dim, std::int64_t mlp_dim, bool tanh_gelu, const at::TensorOptions& options)
    : has_tanh_gelu(tanh_gelu) {
  fc1 = register_module("fc1", std::make_shared<Linear>(dim, mlp_dim, options));
  fc2 = register_module("fc2", std::make_shared<Linear>(mlp_dim, dim, options));
}

at::Tensor Mlp::forward(const at::Tensor& x) const {
  return fc2->forward(at::gelu(fc1->forward(x), has_tanh_gelu ? "tanh" : "none"));
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

at::Tensor TransformerBlock::branch(const at::Tensor& output, DropoutStream& drop) const {
  return drop.drop_path(drop.dropout(output, block.dropout), block.drop_path);
}

at::Tensor TransformerBlock::forward(const at::Tensor& x, const at::Tensor& mask,
                                     DropoutStream& drop) const {
  if (block.order == NormOrder::kPost) {
    const at::Tensor h = norm1->forward(x + branch(attn->forward(x, mask, drop), drop));
    return norm2->forward(h + branch(mlp->forward(h), drop));
  }
  const at::Tensor h = x + branch(attn->forward(norm1->forward(x), mask, drop), drop);
  return h + branch(mlp->forward(norm2->forward(h)), drop);
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
