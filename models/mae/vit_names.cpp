#include "models/mae/vit_names.h"

#include <fmt/format.h>

namespace kiln {

void add_vit_blocks(NameTable& table, const std::string& ours, const std::string& theirs,
                    std::int64_t depth) {
  for (std::int64_t i = 0; i < depth; ++i) {
    const std::string block = fmt::format("{}.{}", ours, i);
    const std::string layer = fmt::format("{}.{}", theirs, i);
    const std::string attention = layer + ".attention.attention";
    add_layer(table, block + ".norm1", layer + ".layernorm_before");
    add_split_layer(table, block + ".attn.qkv",
                    {attention + ".query", attention + ".key", attention + ".value"});
    add_layer(table, block + ".attn.proj", layer + ".attention.output.dense");
    add_layer(table, block + ".norm2", layer + ".layernorm_after");
    add_layer(table, block + ".mlp.fc1", layer + ".intermediate.dense");
    add_layer(table, block + ".mlp.fc2", layer + ".output.dense");
  }
}

void add_vit_encoder(NameTable& table, const VitShape& shape) {
  table.push_back({"cls_token", {"vit.embeddings.cls_token"}});
  table.push_back({"pos_embed", {"vit.embeddings.position_embeddings"}});
  add_layer(table, "patch_embed.proj", "vit.embeddings.patch_embeddings.projection");
  add_vit_blocks(table, "blocks", "vit.encoder.layer", shape.depth);
}

NameTable vit_mae_names(const MaeShape& shape) {
  NameTable table;
  add_vit_encoder(table, shape.encoder);
  add_layer(table, "norm", "vit.layernorm");
  add_layer(table, "decoder_embed", "decoder.decoder_embed");
  table.push_back({"mask_token", {"decoder.mask_token"}});
  table.push_back({"decoder_pos_embed", {"decoder.decoder_pos_embed"}});
  add_vit_blocks(table, "decoder_blocks", "decoder.decoder_layers", shape.decoder_depth);
  add_layer(table, "decoder_norm", "decoder.decoder_norm");
  add_layer(table, "decoder_pred", "decoder.decoder_pred");
  return table;
}

NameTable vit_classifier_names(const VitShape& shape) {
  NameTable table;
  add_vit_encoder(table, shape);
  add_layer(table, "norm", "vit.layernorm");
  add_layer(table, "head", "classifier");
  return table;
}

std::vector<NameAlias> vit_mae_aliases() {
  return {{"decoder.decoder_encoder.layer.", "decoder.decoder_layers."}};
}

}  // namespace kiln
