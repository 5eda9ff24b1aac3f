#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/layers/attention.h"
#include "models/operators/fused.h"

namespace kiln {

/// fc2(act(fc1(x))): D -> mlp_dim -> D, with GELU in its exact (erf) or tanh form.
struct Mlp : torch::nn::Module {
  Mlp(std::int64_t dim, std::int64_t mlp_dim, bool has_tanh_gelu, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;
  /// forward() less the last bias, fc2's: for whoever adds it together with other things.
  at::Tensor without_bias(const at::Tensor& x) const;

  bool has_tanh_gelu;
  std::shared_ptr<Linear> fc1, fc2;
};

/// kPre: x + f(norm(x)), as ViT. kPost: norm(x + f(x)), as BERT.
enum class NormOrder { kPre, kPost };

struct BlockOptions {
  std::int64_t dim = 0;
  std::int64_t heads = 1;
  std::int64_t mlp_dim = 0;
  NormOrder order = NormOrder::kPre;
  double layer_norm_eps = 1e-6;
  bool has_qkv_bias = true;
  bool has_tanh_gelu = false;
  double dropout = 0.0;            // of each branch's output
  double attention_dropout = 0.0;  // of the attention weights
  double drop_path = 0.0;          // of whole branches, per sample
};

/// Attention and MLP, each with a residual connection and a layer norm.
///
/// `mask` as in attend(); undefined: every token sees every other.
struct TransformerBlock : torch::nn::Module {
  TransformerBlock(const BlockOptions& block, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& mask, DropoutStream& drop) const;
  /// pick(forward(x)), where `pick` takes rows of [B, L, D]: what follows the mixing of tokens is
  /// computed for those alone. For the last block, when not all of its rows are needed.
  using Pick = std::function<at::Tensor(const at::Tensor&)>;
  at::Tensor forward_rows(const at::Tensor& x, const at::Tensor& mask, DropoutStream& drop,
                          const Pick& pick) const;

  BlockOptions block;
  std::shared_ptr<LayerNorm> norm1;
  std::shared_ptr<Attention> attn;
  std::shared_ptr<LayerNorm> norm2;
  std::shared_ptr<Mlp> mlp;

 private:
  ResidualNormOutput join(const at::Tensor& x, const at::Tensor& y, const Linear& last,
                          const LayerNorm* norm, DropoutStream& drop) const;
  at::Tensor forward_with_drop_path(const at::Tensor& x, const at::Tensor& mask,
                                    DropoutStream& drop) const;
};

/// `depth` blocks registered with `owner` as NAME.0, NAME.1, ...
std::vector<std::shared_ptr<TransformerBlock>> make_blocks(
    torch::nn::Module& owner, const std::string& name, const BlockOptions& block,
    std::int64_t depth, double last_drop_path, const at::TensorOptions& options);

}  // namespace kiln
