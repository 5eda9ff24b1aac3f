#include "models/autoencoder/autoencoder_names.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/interchange/config_reader.h"

namespace kiln {
namespace {

void add_block(NameTable& table, const std::string& ours, const std::string& theirs,
               bool has_shortcut) {
  for (const char* part : {"norm1", "conv1", "norm2", "conv2"}) {
    add_layer(table, ours + "." + part, theirs + "." + part);
  }
  if (has_shortcut) add_layer(table, ours + ".nin_shortcut", theirs + ".conv_shortcut");
}

void add_attention(NameTable& table, const std::string& ours, const std::string& theirs) {
  add_layer(table, ours + ".norm", theirs + ".group_norm");
  for (const char* part : {"q", "k", "v"}) {
    add_layer(table, ours + "." + part, fmt::format("{}.to_{}", theirs, part));
  }
  add_layer(table, ours + ".proj_out", theirs + ".to_out.0");
}

void add_middle(NameTable& table, const std::string& side) {
  add_block(table, side + ".mid.block_1", side + ".mid_block.resnets.0", false);
  add_attention(table, side + ".mid.attn_1", side + ".mid_block.attentions.0");
  add_block(table, side + ".mid.block_2", side + ".mid_block.resnets.1", false);
}

struct Level {
  std::string ours, theirs;
  std::int64_t in, out, num_blocks;
  bool has_attention;
};

void add_level(NameTable& table, const Level& level) {
  for (std::int64_t i = 0; i < level.num_blocks; ++i) {
    add_block(table, fmt::format("{}.block.{}", level.ours, i),
              fmt::format("{}.resnets.{}", level.theirs, i), i == 0 && level.in != level.out);
    if (!level.has_attention) continue;
    add_attention(table, fmt::format("{}.attn.{}", level.ours, i),
                  fmt::format("{}.attentions.{}", level.theirs, i));
  }
}

void add_encoder(NameTable& table, const AutoencoderShape& shape) {
  add_layer(table, "encoder.conv_in", "encoder.conv_in");
  std::int64_t width = shape.channels;
  for (std::int64_t i = 0; i < shape.num_levels(); ++i) {
    const Level level{fmt::format("encoder.down.{}", i),
                      fmt::format("encoder.down_blocks.{}", i),
                      width,
                      shape.width(i),
                      shape.blocks_per_level,
                      shape.has_attention(i)};
    add_level(table, level);
    if (i + 1 < shape.num_levels()) {
      add_layer(table, level.ours + ".downsample.conv", level.theirs + ".downsamplers.0.conv");
    }
    width = shape.width(i);
  }
  add_middle(table, "encoder");
  add_layer(table, "encoder.norm_out", "encoder.conv_norm_out");
  add_layer(table, "encoder.conv_out", "encoder.conv_out");
}

void add_decoder(NameTable& table, const AutoencoderShape& shape) {
  add_layer(table, "decoder.conv_in", "decoder.conv_in");
  add_middle(table, "decoder");
  const std::int64_t last = shape.num_levels() - 1;
  std::int64_t width = shape.width(last);
  for (std::int64_t i = last; i >= 0;
       --i) {  // theirs count from the coarsest, ours from the finest
    const Level level{fmt::format("decoder.up.{}", i),
                      fmt::format("decoder.up_blocks.{}", last - i),
                      width,
                      shape.width(i),
                      shape.blocks_per_level + 1,
                      shape.has_attention(i)};
    add_level(table, level);
    if (i > 0) add_layer(table, level.ours + ".upsample.conv", level.theirs + ".upsamplers.0.conv");
    width = shape.width(i);
  }
  add_layer(table, "decoder.norm_out", "decoder.conv_norm_out");
  add_layer(table, "decoder.conv_out", "decoder.conv_out");
}

}  // namespace

NameTable autoencoder_names(const AutoencoderShape& shape) {
  NameTable table;
  add_encoder(table, shape);
  add_layer(table, "quant_conv", "quant_conv");
  if (shape.bottleneck == Bottleneck::kVq) {
    table.push_back({"quantize.embedding.weight", {"quantize.embedding.weight"}});
  }
  add_layer(table, "post_quant_conv", "post_quant_conv");
  add_decoder(table, shape);
  return table;
}

std::vector<NameAlias> autoencoder_aliases() {
  return {{".attentions.0.query.", ".attentions.0.to_q."},
          {".attentions.0.key.", ".attentions.0.to_k."},
          {".attentions.0.value.", ".attentions.0.to_v."},
          {".attentions.0.proj_attn.", ".attentions.0.to_out.0."}};
}

AutoencoderShape autoencoder_shape_from_config(const nlohmann::json& config,
                                               const std::string& origin) {
  ConfigReader reader(config, origin);
  AutoencoderShape shape;
  std::string kind;
  std::vector<std::int64_t> widths;
  std::vector<std::string> down, up;
  std::int64_t out_channels = 0;
  reader.read("_class_name", kind);
  reader.read("in_channels", shape.image_channels);
  reader.read("out_channels", out_channels);
  reader.read("block_out_channels", widths);
  reader.read("layers_per_block", shape.blocks_per_level);
  reader.read("latent_channels", shape.z_channels);
  reader.read("norm_num_groups", shape.norm_groups);
  reader.read("down_block_types", down);
  reader.read("up_block_types", up);
  shape.latent_channels = shape.z_channels;
  if (kind == "VQModel") {
    shape.bottleneck = Bottleneck::kVq;
    reader.read("num_vq_embeddings", shape.num_codes);
    reader.read_optional("vq_embed_dim", shape.latent_channels);
    reader.require_value("norm_type", "group");
  }
  reader.require_value("act_fn", "silu");
  reader.require_value("mid_block_add_attention", true);
  reader.require_value("use_quant_conv", true);
  reader.require_value("use_post_quant_conv", true);
  reader.require(out_channels == shape.image_channels, "out_channels differs from in_channels");
  reader.require(!widths.empty() && down.size() == widths.size() && up.size() == widths.size(),
                 "block_out_channels, down_block_types and up_block_types differ in length");
  reader.finish();
  shape.channels = widths.front();
  shape.multipliers.clear();
  for (std::size_t i = 0; i < widths.size(); ++i) {
    reader.require(widths[i] % shape.channels == 0,
                   "block_out_channels are not multiples of the first");
    shape.multipliers.push_back(widths[i] / shape.channels);
    const bool has_attention = down[i] == "AttnDownEncoderBlock2D";
    reader.require(has_attention || down[i] == "DownEncoderBlock2D",
                   fmt::format("down block {} is unknown", down[i]));
    reader.require(
        up[widths.size() - 1 - i] == (has_attention ? "AttnUpDecoderBlock2D" : "UpDecoderBlock2D"),
        "up_block_types do not mirror down_block_types");
    if (has_attention) shape.attention_levels.push_back(static_cast<std::int64_t>(i));
  }
  reader.finish();
  return shape;
}

nlohmann::ordered_json config_of(const AutoencoderShape& shape, double latent_scale,
                                 std::int64_t image_size) {
  std::vector<std::int64_t> widths;
  std::vector<std::string> down, up;
  for (std::int64_t i = 0; i < shape.num_levels(); ++i) {
    widths.push_back(shape.width(i));
    down.push_back(shape.has_attention(i) ? "AttnDownEncoderBlock2D" : "DownEncoderBlock2D");
    up.push_back(shape.has_attention(i) ? "AttnUpDecoderBlock2D" : "UpDecoderBlock2D");
  }
  std::ranges::reverse(up);
  const bool is_vq = shape.bottleneck == Bottleneck::kVq;
  nlohmann::ordered_json config = {{"_class_name", is_vq ? "VQModel" : "AutoencoderKL"},
                                   {"act_fn", "silu"},
                                   {"block_out_channels", widths},
                                   {"down_block_types", down},
                                   {"in_channels", shape.image_channels},
                                   {"latent_channels", shape.z_channels},
                                   {"layers_per_block", shape.blocks_per_level},
                                   {"norm_num_groups", shape.norm_groups},
                                   {"out_channels", shape.image_channels},
                                   {"sample_size", image_size},
                                   {"scaling_factor", latent_scale},
                                   {"up_block_types", up}};
  if (is_vq) {
    config["norm_type"] = "group";
    config["num_vq_embeddings"] = shape.num_codes;
    config["vq_embed_dim"] = shape.latent_channels;
  }
  return config;
}

}  // namespace kiln
