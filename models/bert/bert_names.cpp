#include "models/bert/bert_names.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

constexpr const char* kPrefix = "bert.";
constexpr const char* kMlmBias = "cls.predictions.bias";
constexpr const char* kWords = "bert.embeddings.word_embeddings.weight";

bool replace(std::string& text, const std::string& found, const std::string& meant) {
  const std::size_t at = text.find(found);
  if (at == std::string::npos) return false;
  text.replace(at, found.size(), meant);
  return true;
}

bool is_optimizer_state(const std::string& name) {
  return name.ends_with("adam_m") || name.ends_with("adam_v") || name == "global_step";
}

/// "bert/encoder/layer_0/output/dense/kernel" -> "bert.encoder.layer.0.output.dense.weight".
std::pair<std::string, at::Tensor> from_tensorflow(std::string name, at::Tensor value) {
  for (char& c : name) c = c == '/' ? '.' : c;
  replace(name, ".layer_", ".layer.");
  if (replace(name, ".kernel", ".weight")) value = value.t();
  replace(name, "seq_relationship.output_weights", "seq_relationship.weight");
  replace(name, "seq_relationship.output_bias", "seq_relationship.bias");
  replace(name, "predictions.output_bias", "predictions.bias");
  if (name.ends_with("_embeddings")) name += ".weight";
  return {name, value.contiguous()};
}

void drop_tied(NamedTensors& tensors, const std::string& copy, const std::string& tied,
               const std::string& origin) {
  const auto found = tensors.find(copy);
  if (found == tensors.end()) return;
  const auto original = tensors.find(tied);
  if (original == tensors.end()) {
    tensors[tied] = found->second;
  } else if (!original->second.equal(found->second)) {
    throw checkpoint_error(
        "{}: {} differs from {}; models whose decoder is not tied to the word "
        "embeddings are not supported",
        origin, copy, tied);
  }
  tensors.erase(copy);
}

NamedTensors without_prefix(const NamedTensors& tensors) {
  NamedTensors result;
  for (const auto& [name, value] : tensors) {
    result[name.starts_with(kPrefix) ? name.substr(std::string_view(kPrefix).size()) : name] =
        value;
  }
  return result;
}

}  // namespace

NameTable bert_names(const BertShape& shape) {
  const std::string root = shape.has_mlm_head ? kPrefix : "";
  NameTable table;
  for (const auto& [ours, theirs] : {std::pair{"word_embeddings", "word_embeddings"},
                                     std::pair{"position_embeddings", "position_embeddings"},
                                     std::pair{"segment_embeddings", "token_type_embeddings"}}) {
    table.push_back({ours, {root + "embeddings." + theirs + ".weight"}});
  }
  add_layer(table, "embeddings_norm", root + "embeddings.LayerNorm");
  for (std::int64_t i = 0; i < shape.depth; ++i) {
    const std::string ours = fmt::format("blocks.{}.", i);
    const std::string theirs = fmt::format("{}encoder.layer.{}.", root, i);
    add_split_layer(table, ours + "attn.qkv",
                    {theirs + "attention.self.query", theirs + "attention.self.key",
                     theirs + "attention.self.value"});
    add_layer(table, ours + "attn.proj", theirs + "attention.output.dense");
    add_layer(table, ours + "norm1", theirs + "attention.output.LayerNorm");
    add_layer(table, ours + "mlp.fc1", theirs + "intermediate.dense");
    add_layer(table, ours + "mlp.fc2", theirs + "output.dense");
    add_layer(table, ours + "norm2", theirs + "output.LayerNorm");
  }
  if (shape.has_pooler) add_layer(table, "pooler", root + "pooler.dense");
  if (shape.has_mlm_head) {
    add_layer(table, "mlm.dense", "cls.predictions.transform.dense");
    add_layer(table, "mlm.norm", "cls.predictions.transform.LayerNorm");
    table.push_back({"mlm.bias", {kMlmBias}});
  }
  if (shape.has_pair_head) add_layer(table, "pair_head", "cls.seq_relationship");
  return table;
}

NamedTensors normalise_bert_names(const NamedTensors& theirs, const std::string& origin) {
  NamedTensors result;
  for (const auto& [published, value] : theirs) {
    if (is_optimizer_state(published) || published.ends_with("position_ids")) continue;
    auto [name, tensor] = published.find('/') != std::string::npos
                              ? from_tensorflow(published, value)
                              : std::pair(published, value);
    if (name.ends_with(".gamma")) replace(name, ".gamma", ".weight");
    if (name.ends_with(".beta")) replace(name, ".beta", ".bias");
    const bool is_bare = name.starts_with("embeddings.") || name.starts_with("encoder.") ||
                         name.starts_with("pooler.");
    result[(is_bare ? kPrefix : "") + name] = tensor;
  }
  drop_tied(result, "cls.predictions.decoder.weight", kWords, origin);
  drop_tied(result, "cls.predictions.decoder.bias", kMlmBias, origin);
  return result.contains(kMlmBias) ? result : without_prefix(result);
}

void set_bert_heads(BertShape& shape, const NamedTensors& theirs) {
  shape.has_mlm_head = theirs.contains(kMlmBias);
  shape.has_pair_head = theirs.contains("cls.seq_relationship.weight");
  shape.has_pooler =
      shape.has_pair_head || (!shape.has_mlm_head && theirs.contains("pooler.dense.weight"));
}

}  // namespace kiln
