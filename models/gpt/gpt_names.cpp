#include "models/gpt/gpt_names.h"

#include <fmt/format.h>

#include <utility>

#include "core/base/error.h"
#include "core/torch.h"
#include "models/interchange/names.h"

namespace kiln {
namespace {

using Kind = NameRule::Kind;

// Linear maps of a block: ours and transformers' name.
const std::vector<std::pair<std::string, std::string>> kImageMaps = {
    {"qkv", "attn.c_attn"}, {"proj", "attn.c_proj"}, {"fc1", "mlp.c_fc"}, {"fc2", "mlp.c_proj"}};

std::string image_block(std::int64_t i) { return fmt::format("transformer.h.{}.", i); }

NameTable image_names(const GptShape& shape) {
  NameTable table = {{"tokens", {"transformer.wte.weight"}},
                     {"positions", {"transformer.wpe.weight"}}};
  for (std::int64_t i = 0; i < shape.depth; ++i) {
    const std::string ours = fmt::format("blocks.{}.", i), theirs = image_block(i);
    table.push_back({ours + "norm1.weight", {theirs + "ln_1.weight"}});
    for (const auto& [own, name] : kImageMaps) {
      table.push_back({ours + own + ".weight", {theirs + name + ".weight"}});
    }
    table.push_back({ours + "norm2.weight", {theirs + "ln_2.weight"}});
  }
  table.push_back({"norm.weight", {"transformer.ln_f.weight"}});
  table.push_back({"head.weight", {"lm_head.weight"}});
  return table;
}

NameTable mini_names(const GptShape& shape) {
  NameTable table = {{"tokens", {"tok_emb.weight"}}, {"positions", {"pos_emb"}}};
  for (std::int64_t i = 0; i < shape.depth; ++i) {
    const std::string name = fmt::format("blocks.{}.", i);
    add_layer(table, name + "norm1", name + "ln1");
    add_split_layer(table, name + "qkv",
                    {name + "attn.query", name + "attn.key", name + "attn.value"});
    add_layer(table, name + "proj", name + "attn.proj");
    add_layer(table, name + "norm2", name + "ln2");
    add_layer(table, name + "fc1", name + "mlp.0");
    add_layer(table, name + "fc2", name + "mlp.2");
  }
  add_layer(table, "norm", "ln_f");
  table.push_back({"head.weight", {"head.weight"}});
  return table;
}

NameTable names_of(const GptShape& shape) {
  return shape.form == GptForm::kImage ? image_names(shape) : mini_names(shape);
}

/// Calls use(weight, bias) with transformers' names of each linear map of a block.
template <typename Use>
void for_each_image_map(const GptShape& shape, const Use& use) {
  for (std::int64_t i = 0; i < shape.depth; ++i) {
    for (const auto& [own, name] : kImageMaps) {
      use(image_block(i) + name + ".weight", image_block(i) + name + ".bias");
    }
  }
}

}  // namespace

NamedTensors gpt_to_theirs(const GptShape& shape, const NamedTensors& ours) {
  NamedTensors theirs;
  for (auto& [name, tensor] : to_theirs(names_of(shape), ours)) theirs[name] = tensor;
  if (shape.form == GptForm::kMini) {
    theirs["pos_emb"] = theirs.at("pos_emb").unsqueeze(0);
    return theirs;
  }
  for_each_image_map(shape, [&](const std::string& weight, const std::string& bias) {
    theirs[weight] = theirs.at(weight).t().contiguous();
    theirs[bias] = at::zeros({theirs.at(weight).size(1)}, theirs.at(weight).options());
  });
  return theirs;
}

NamedTensors gpt_to_ours(const GptShape& shape, const NamedTensors& theirs,
                         const std::string& origin) {
  NamedTensors own = theirs;
  if (shape.form == GptForm::kMini) {
    const auto positions = own.find("pos_emb");
    if (positions != own.end()) positions->second = positions->second.squeeze(0);
    return to_ours(names_of(shape), own, origin);
  }
  for_each_image_map(shape, [&](const std::string& weight, const std::string& bias) {
    const auto matrix = own.find(weight), shift = own.find(bias);
    if (matrix != own.end()) matrix->second = matrix->second.t().contiguous();
    if (shift == own.end()) return;
    if (shift->second.count_nonzero().item<std::int64_t>() > 0) {
      throw checkpoint_error("{}: {} is not zero; image GPTs have no biases", origin, bias);
    }
    own.erase(shift);
  });
  return to_ours(names_of(shape), own, origin);
}

}  // namespace kiln
