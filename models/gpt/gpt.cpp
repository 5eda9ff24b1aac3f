#include "models/gpt/gpt.h"

#include <fmt/format.h>
#include <torch/nn/modules/container/modulelist.h>

#include <cmath>

#include "core/base/error.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"
#include "models/layers/submodule.h"
#include "models/operators/fused.h"
#include "models/operators/precision.h"

namespace kiln {

Gpt::Gpt(const GptShape& choice, const at::TensorOptions& options) : shape(choice) {
  tokens = register_parameter("tokens", at::empty({shape.vocab_size, shape.dim}, options));
  positions = register_parameter("positions", at::empty({shape.max_positions, shape.dim}, options));
  auto list = register_module("blocks", torch::nn::ModuleList());
  for (std::int64_t i = 0; i < shape.depth; ++i) {
    blocks.push_back(std::make_shared<GptBlock>(shape, options));
    list->push_back(blocks.back());
  }
  norm = add<GptNorm>(*this, "norm", shape, options);
  head = add<Linear>(*this, "head", shape.dim, shape.num_outputs, options, /*has_bias=*/false);
}

at::Tensor Gpt::embed(const at::Tensor& ids, const at::Tensor& masked, DropoutStream& drop) const {
  const std::int64_t L = ids.size(1);
  KILN_CHECK(L <= shape.max_positions, "{} tokens, {} positions", L, shape.max_positions);
  at::Tensor x = fused_embedding(tokens, ids);  // [B, L, D]
  if (masked.defined()) x = x * masked.logical_not().unsqueeze(2);
  return drop.dropout(x + positions.narrow(0, 0, L), shape.dropout);
}

at::Tensor Gpt::mix(const at::Tensor& embedded, bool is_causal, DropoutStream& drop) const {
  at::Tensor x = embedded;
  for (const auto& block : blocks) x = block->forward(x, is_causal, drop);
  return x;
}

at::Tensor Gpt::logits(const at::Tensor& mixed) const {
  return head->forward(norm->forward(mixed));
}

at::Tensor Gpt::middle(const at::Tensor& embedded, bool is_causal) const {
  DropoutStream none;
  at::Tensor x = embedded;
  const std::size_t half = blocks.size() / 2;
  for (std::size_t i = 0; i < half; ++i) x = blocks[i]->forward(x, is_causal, none);
  return blocks[half]->norm1->forward(x);
}

std::vector<KeyValueCache> Gpt::make_caches(std::int64_t B, std::int64_t length) const {
  std::vector<KeyValueCache> caches(blocks.size());
  for (KeyValueCache& cache : caches) {
    cache.keys = at::empty({B, shape.heads, length, shape.head_dim()}, tokens.options());
    cache.values = at::empty_like(cache.keys);
  }
  return caches;
}

at::Tensor Gpt::next_logits(const at::Tensor& ids, std::vector<KeyValueCache>& caches) const {
  const std::int64_t L = ids.size(1), before = caches.front().length;
  KILN_CHECK(before + L <= shape.max_positions, "{} tokens, {} positions", before + L,
             shape.max_positions);
  at::Tensor x = fused_embedding(tokens, ids) + positions.narrow(0, before, L);
  for (std::size_t i = 0; i < blocks.size(); ++i) x = blocks[i]->forward_next(x, caches[i]);
  return logits(x.select(1, L - 1));
}

std::vector<Parameter> gpt_parameters(const Gpt& gpt) {
  std::vector<Parameter> list;
  append_parameter(list, "tokens", gpt.tokens);
  append_parameter(list, "positions", gpt.positions);
  if (gpt.shape.form == GptForm::kMini) {
    for (Parameter& table : list) table.has_decay = false;
  }
  for (std::size_t i = 0; i < gpt.blocks.size(); ++i) {
    append_parameters(list, fmt::format("blocks.{}", i), *gpt.blocks[i]);
  }
  append_parameters(list, "norm", *gpt.norm);
  append_parameters(list, "head", *gpt.head);
  return list;
}

void initialise_gpt(std::vector<Parameter>& parameters, const GptShape& shape, std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  const bool is_image = shape.form == GptForm::kImage;
  const auto width = static_cast<double>(shape.dim), depth = static_cast<double>(shape.depth);
  const auto deviation = [&](const std::string& name) {
    if (name == "head.weight") return is_image ? 0.0 : 0.02;
    if (name == "positions") return is_image ? 0.01 : 0.0;
    if (is_image && name.ends_with(".qkv.weight")) return 1.0 / std::sqrt(width);
    if (is_image && name.ends_with(".proj.weight")) return 1.0 / std::sqrt(width * depth);
    return 0.02;
  };
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::string& name = parameters[i].name;
    at::Tensor& tensor = parameters[i].tensor;
    if (tensor.dim() > 1) {
      fill_normal(tensor, deviation(name), init_stream(seed, i));
    } else {
      tensor.fill_(name.ends_with(".weight") ? 1.0 : 0.0);
    }
  }
}

at::Tensor shifted(const at::Tensor& first, const at::Tensor& ids) {
  return at::cat({first, ids.narrow(1, 0, ids.size(1) - 1)}, 1);
}

at::Tensor token_losses(const at::Tensor& logits, const at::Tensor& ids) {
  const at::Tensor scores = at_least_fp32(logits).log_softmax(-1);
  return -scores.gather(-1, ids.unsqueeze(-1)).squeeze(-1);
}

}  // namespace kiln
