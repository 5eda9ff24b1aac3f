#include "models/diffusion/diffusion_names.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/interchange/config_reader.h"

namespace kiln {
namespace {

// U-Nets: our names are theirs, but for fused projections.

void add_same(NameTable& table, const std::string& layer) { add_layer(table, layer, layer); }

void add_resnet(NameTable& table, const std::string& name, bool has_shortcut) {
  for (const char* part : {"norm1", "conv1", "time_emb_proj", "norm2", "conv2"}) {
    add_same(table, name + "." + part);
  }
  if (has_shortcut) add_same(table, name + ".conv_shortcut");
}

void add_fused_matrix(NameTable& table, const std::string& ours,
                      const std::vector<std::string>& theirs) {
  NameRule rule{ours + ".weight", {}, NameRule::Kind::kSplitRows};
  for (const std::string& name : theirs) rule.theirs.push_back(name + ".weight");
  table.push_back(std::move(rule));
}

void add_context_block(NameTable& table, const std::string& name) {
  const std::string self = name + ".attn1", cross = name + ".attn2";
  add_same(table, name + ".norm1");
  add_fused_matrix(table, name + ".self_qkv", {self + ".to_q", self + ".to_k", self + ".to_v"});
  add_layer(table, name + ".self_out", self + ".to_out.0");
  add_same(table, name + ".norm2");
  add_fused_matrix(table, name + ".cross_q", {cross + ".to_q"});
  add_fused_matrix(table, name + ".cross_kv", {cross + ".to_k", cross + ".to_v"});
  add_layer(table, name + ".cross_out", cross + ".to_out.0");
  add_same(table, name + ".norm3");
  add_layer(table, name + ".ff_in", name + ".ff.net.0.proj");
  add_layer(table, name + ".ff_out", name + ".ff.net.2");
}

void add_attention(NameTable& table, const std::string& name, const UNetShape& shape) {
  if (shape.context_dim == 0) {
    add_same(table, name + ".group_norm");
    add_split_layer(table, name + ".to_qkv", {name + ".to_q", name + ".to_k", name + ".to_v"});
    add_layer(table, name + ".to_out", name + ".to_out.0");
    return;
  }
  for (const char* part : {"norm", "proj_in"}) add_same(table, name + "." + part);
  for (std::int64_t i = 0; i < shape.context_depth; ++i) {
    add_context_block(table, fmt::format("{}.transformer_blocks.{}", name, i));
  }
  add_same(table, name + ".proj_out");
}

void add_resizing(NameTable& table, const std::string& name, const UNetShape& shape) {
  if (shape.resizes_in_blocks) {
    add_resnet(table, name, false);
  } else {
    add_same(table, name + ".conv");
  }
}

}  // namespace

NameTable unet_names(const UNetShape& shape) {
  NameTable table;
  const std::int64_t last = shape.num_levels() - 1;
  for (const char* name : {"time_embedding.linear_1", "time_embedding.linear_2"})
    add_same(table, name);
  if (shape.num_labels > 0) table.push_back({"class_embedding.weight", {"class_embedding.weight"}});
  add_same(table, "conv_in");
  std::vector<std::int64_t> skips = {shape.channels};
  std::int64_t width = shape.channels;
  for (std::int64_t i = 0; i <= last; ++i) {
    const std::string level = fmt::format("down_blocks.{}", i);
    for (std::int64_t j = 0; j < shape.blocks_per_level; ++j) {
      add_resnet(table, fmt::format("{}.resnets.{}", level, j), width != shape.width(i));
      if (shape.has_attention(i))
        add_attention(table, fmt::format("{}.attentions.{}", level, j), shape);
      skips.push_back(width = shape.width(i));
    }
    if (i == last) continue;
    add_resizing(table, level + ".downsamplers.0", shape);
    skips.push_back(width);
  }
  add_resnet(table, "mid_block.resnets.0", false);
  add_attention(table, "mid_block.attentions.0", shape);
  add_resnet(table, "mid_block.resnets.1", false);
  for (std::int64_t i = last; i >= 0; --i) {
    const std::string level = fmt::format("up_blocks.{}", last - i);
    for (std::int64_t j = 0; j <= shape.blocks_per_level; ++j) {
      add_resnet(table, fmt::format("{}.resnets.{}", level, j),
                 width + skips.back() != shape.width(i));
      if (shape.has_attention(i))
        add_attention(table, fmt::format("{}.attentions.{}", level, j), shape);
      skips.pop_back();
      width = shape.width(i);
    }
    if (i > 0) add_resizing(table, level + ".upsamplers.0", shape);
  }
  for (const char* name : {"conv_norm_out", "conv_out"}) add_same(table, name);
  return table;
}

NameTable dit_names(const DitShape& shape) {
  NameTable table;
  const auto add_copies = [&](const std::string& ours, const std::string& theirs) {
    NameRule rule{ours, {}, NameRule::Kind::kCopies};
    for (std::int64_t i = 0; i < shape.depth; ++i) {
      rule.theirs.push_back(fmt::format("transformer_blocks.{}.norm1.emb.{}", i, theirs));
    }
    table.push_back(std::move(rule));
  };
  add_layer(table, "x_embedder.proj", "pos_embed.proj");
  for (const char* part : {".weight", ".bias"}) {
    add_copies(std::string("t_embedder.mlp.0") + part,
               std::string("timestep_embedder.linear_1") + part);
    add_copies(std::string("t_embedder.mlp.2") + part,
               std::string("timestep_embedder.linear_2") + part);
  }
  add_copies("y_embedder.embedding_table.weight", "class_embedder.embedding_table.weight");
  for (std::int64_t i = 0; i < shape.depth; ++i) {
    const std::string ours = fmt::format("blocks.{}", i);
    const std::string theirs = fmt::format("transformer_blocks.{}", i);
    const std::string attention = theirs + ".attn1";
    add_layer(table, ours + ".adaLN_modulation.1", theirs + ".norm1.linear");
    add_split_layer(table, ours + ".attn.qkv",
                    {attention + ".to_q", attention + ".to_k", attention + ".to_v"});
    add_layer(table, ours + ".attn.proj", attention + ".to_out.0");
    add_layer(table, ours + ".mlp.fc1", theirs + ".ff.net.0.proj");
    add_layer(table, ours + ".mlp.fc2", theirs + ".ff.net.2");
  }
  add_layer(table, "final_layer.adaLN_modulation.1", "proj_out_1");
  add_layer(table, "final_layer.linear", "proj_out_2");
  return table;
}

}  // namespace kiln
