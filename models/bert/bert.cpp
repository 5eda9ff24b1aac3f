#include "models/bert/bert.h"

#include <fmt/format.h>

#include <cmath>

#include "core/base/error.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"

namespace kiln {

std::vector<std::string> BertShape::problems() const {
  std::vector<std::string> found;
  const auto at_least = [&](const char* key, std::int64_t value, std::int64_t least) {
    if (value < least)
      found.push_back(fmt::format("model.{} = {}; at least {}", key, value, least));
  };
  at_least("dim", dim, 1);
  at_least("depth", depth, 1);
  at_least("heads", heads, 1);
  at_least("mlp_dim", mlp_dim, 1);
  at_least("max_positions", max_positions, 8);
  if (heads >= 1 && dim % heads != 0) {
    found.push_back(fmt::format("model.dim = {} is no multiple of model.heads = {}", dim, heads));
  }
  if (!(init.std > 0.0)) found.push_back(fmt::format("model.init_std = {}; above 0", init.std));
  const auto is_probability = [](double p) { return p >= 0.0 && p < 1.0; };
  if (!is_probability(dropout) || !is_probability(attention_dropout)) {
    found.push_back(
        fmt::format("model.dropout = {} and model.attention_dropout = {} must be in "
                    "[0, 1)",
                    dropout, attention_dropout));
  }
  return found;
}

MlmHead::MlmHead(const BertShape& shape, const at::TensorOptions& options)
    : has_tanh_gelu(shape.has_tanh_gelu) {
  dense = register_module("dense", std::make_shared<Linear>(shape.dim, shape.dim, options));
  norm = register_module("norm",
                         std::make_shared<LayerNorm>(shape.dim, shape.layer_norm_eps, options));
  bias = register_parameter("bias", at::empty({shape.vocab_size}, options));
}

at::Tensor MlmHead::transform(const at::Tensor& x) const {
  return norm->forward(at::gelu(dense->forward(x), has_tanh_gelu ? "tanh" : "none"));
}

Bert::Bert(const BertShape& choice, const at::TensorOptions& options) : shape(choice) {
  KILN_CHECK(!shape.has_pair_head || shape.has_pooler, "a pair head needs the pooler");
  const auto table = [&](const char* name, std::int64_t rows) {
    return register_parameter(name, at::empty({rows, shape.dim}, options));
  };
  word_embeddings = table("word_embeddings", shape.vocab_size);
  position_embeddings = table("position_embeddings", shape.max_positions);
  segment_embeddings = table("segment_embeddings", shape.num_segments);
  embeddings_norm = register_module(
      "embeddings_norm", std::make_shared<LayerNorm>(shape.dim, shape.layer_norm_eps, options));
  const BlockOptions block{.dim = shape.dim,
                           .heads = shape.heads,
                           .mlp_dim = shape.mlp_dim,
                           .order = NormOrder::kPost,
                           .layer_norm_eps = shape.layer_norm_eps,
                           .has_tanh_gelu = shape.has_tanh_gelu,
                           .dropout = shape.dropout,
                           .attention_dropout = shape.attention_dropout};
  blocks = make_blocks(*this, "blocks", block, shape.depth, 0.0, options);
  if (shape.has_pooler) {
    pooler = register_module("pooler", std::make_shared<Linear>(shape.dim, shape.dim, options));
  }
  if (shape.has_mlm_head) mlm = register_module("mlm", std::make_shared<MlmHead>(shape, options));
  if (shape.has_pair_head) {
    pair_head = register_module("pair_head", std::make_shared<Linear>(shape.dim, 2, options));
  }
}

at::Tensor Bert::embed(const Input& input, DropoutStream& drop) const {
  at::Tensor x = fused_embedding(word_embeddings, input.tokens);  // [B, L, D]
  x = x + fused_embedding(position_embeddings, input.position);
  x = x + (input.segment.defined() ? fused_embedding(segment_embeddings, input.segment)
                                   : segment_embeddings[0]);
  return drop.dropout(embeddings_norm->forward(x), shape.dropout);
}

at::Tensor Bert::encode(const Input& input, DropoutStream& drop) const {
  at::Tensor x = embed(input, drop);
  const at::Tensor mask = mask_for(input.mask, x);
  for (const auto& block : blocks) x = block->forward(x, mask, drop);
  return x;
}

at::Tensor Bert::encode_rows(const Input& input, const at::Tensor& rows,
                             DropoutStream& drop) const {
  const auto pick = [&](const at::Tensor& all) {
    return all.reshape({-1, all.size(-1)}).index_select(0, rows);
  };
  at::Tensor x = embed(input, drop);
  if (blocks.empty()) return pick(x);
  const at::Tensor mask = mask_for(input.mask, x);
  for (std::size_t i = 0; i + 1 < blocks.size(); ++i) {
    x = blocks[i]->forward(x, mask, drop);
  }
  return blocks.back()->forward_rows(x, mask, drop, pick);
}

at::Tensor Bert::pool(const at::Tensor& x) const {
  return pooler->forward(x.dim() == 3 ? x.select(1, 0) : x).tanh();
}

at::Tensor Bert::mlm_logits(const at::Tensor& x) const {
  return fused_linear(mlm->transform(x), word_embeddings, mlm->bias);
}

at::Tensor Bert::pair_logits(const at::Tensor& pooled) const { return pair_head->forward(pooled); }

std::vector<Parameter> bert_parameters(const Bert& bert) {
  std::vector<Parameter> list;
  append_parameter(list, "word_embeddings", bert.word_embeddings);
  append_parameter(list, "position_embeddings", bert.position_embeddings);
  append_parameter(list, "segment_embeddings", bert.segment_embeddings);
  append_parameters(list, "embeddings_norm", *bert.embeddings_norm);
  for (std::size_t i = 0; i < bert.blocks.size(); ++i) {
    append_parameters(list, fmt::format("blocks.{}", i), *bert.blocks[i]);
  }
  if (bert.mlm) append_parameters(list, "mlm", *bert.mlm);
  if (bert.pooler) append_parameters(list, "pooler", *bert.pooler);
  if (bert.pair_head) append_parameters(list, "pair_head", *bert.pair_head);
  return list;
}

namespace {

/// As in "Attention is all you need" (arXiv:1706.03762, section 3.5), with L in place of 10,000.
void fill_waves(at::Tensor& table, double std) {
  const std::int64_t L = table.size(0), D = table.size(1);
  const at::Tensor rate =
      at::pow(static_cast<double>(L),
              at::arange(0, D, 2, at::kDouble) * (-1.0 / static_cast<double>(D)));  // [D / 2]
  const at::Tensor angle = at::arange(L, at::kDouble).unsqueeze(1) * rate;          // [L, D / 2]
  const at::Tensor waves = at::stack({angle.sin(), angle.cos()}, 2).flatten(1);     // [L, D]
  table.copy_(waves.narrow(1, 0, D) * (std::sqrt(2.0) * std));
}

}  // namespace

void initialise_bert(std::vector<Parameter>& parameters, const BertInit& init, std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    at::Tensor& tensor = parameters[i].tensor;
    if (tensor.dim() > 1) {
      fill_truncated_normal(tensor, init.std, init_stream(seed, i));
      const bool is_position = parameters[i].name == "position_embeddings";
      if (is_position && init.has_position_waves) fill_waves(tensor, init.std);
    } else {
      const bool is_norm = parameters[i].name.ends_with(".weight");
      tensor.fill_(is_norm ? 1.0 : 0.0);
    }
  }
}

}  // namespace kiln
