#include <fmt/format.h>

#include <algorithm>

#include "models/diffusion/diffusion_names.h"
#include "models/interchange/config_reader.h"

namespace kiln {
namespace {

using nlohmann::json;

constexpr std::int64_t kDefaultHeadChannels = 8;  // of UNet2DModel

/// Block types from the finest level to the coarsest: which have attention.
void read_levels(ConfigReader& reader, UNetShape& shape, bool is_conditional) {
  std::vector<std::int64_t> widths;
  std::vector<std::string> down, up;
  reader.read("block_out_channels", widths);
  reader.read("down_block_types", down);
  reader.read("up_block_types", up);
  reader.require(!widths.empty() && down.size() == widths.size() && up.size() == widths.size(),
                 "block_out_channels, down_block_types and up_block_types differ in length");
  reader.finish();
  const std::string attending = is_conditional ? "CrossAttn" : "Attn";
  shape.channels = widths.front();
  shape.multipliers.clear();
  for (std::size_t i = 0; i < widths.size(); ++i) {
    reader.require(widths[i] % shape.channels == 0,
                   "block_out_channels are not multiples of the first");
    shape.multipliers.push_back(widths[i] / shape.channels);
    const bool has_attention = down[i] == attending + "DownBlock2D";
    reader.require(has_attention || down[i] == "DownBlock2D",
                   fmt::format("down block {} is unknown", down[i]));
    reader.require(up[widths.size() - 1 - i] == (has_attention ? attending : "") + "UpBlock2D",
                   "up_block_types do not mirror down_block_types");
    if (has_attention) shape.attention_levels.push_back(static_cast<std::int64_t>(i));
  }
}

void require_plain(ConfigReader& reader) {
  reader.require_value("act_fn", "silu");
  reader.require_value("center_input_sample", false);
  reader.require_value("time_embedding_type", "positional");
  reader.require_value("mid_block_scale_factor", 1);
  reader.require_value("add_attention", true);
  reader.require_value("only_cross_attention", false);
  reader.require_value("dual_cross_attention", false);
  reader.require_value("conv_in_kernel", 3);
  reader.require_value("conv_out_kernel", 3);
  reader.require_value("resnet_out_scale_factor", 1.0);
  reader.require_value("attention_type", "default");
}

}  // namespace

UNetShape unet_shape_from_config(const json& config, const std::string& origin) {
  ConfigReader reader(config, origin);
  UNetShape shape;
  std::string kind, time_scale_shift = "default", downsample = "conv", upsample = "conv";
  bool is_cosine_first = true;
  reader.read("_class_name", kind);
  const bool is_conditional = kind == "UNet2DConditionModel";
  read_levels(reader, shape, is_conditional);
  require_plain(reader);
  reader.read("in_channels", shape.in_channels);
  reader.read("out_channels", shape.out_channels);
  reader.read("layers_per_block", shape.blocks_per_level);
  reader.read_optional("norm_num_groups", shape.norm_groups);
  reader.read_optional("norm_eps", shape.norm_eps);
  reader.read_optional("freq_shift", shape.time.freq_shift);
  reader.read_optional("flip_sin_to_cos", is_cosine_first);
  reader.read_optional("downsample_padding", shape.downsample_padding);
  reader.read_optional("dropout", shape.dropout);
  reader.read_optional("num_class_embeds", shape.num_labels);
  reader.read_optional("resnet_time_scale_shift", time_scale_shift);
  reader.read_optional("downsample_type", downsample);
  reader.read_optional("upsample_type", upsample);
  shape.time.is_sine_first = !is_cosine_first;
  shape.has_scale_shift = time_scale_shift == "scale_shift";
  shape.resizes_in_blocks = downsample == "resnet";
  reader.require(downsample == upsample, "downsample_type and upsample_type differ");
  if (is_conditional) {
    reader.read("cross_attention_dim", shape.context_dim);
    reader.read("attention_head_dim", shape.heads);  // the number of heads, under a historical name
    reader.read_optional("num_attention_heads", shape.heads);
    reader.read_optional("transformer_layers_per_block", shape.context_depth);
    reader.read_optional("use_linear_projection", shape.has_linear_projection);
  } else if (config.contains("attention_head_dim") && config["attention_head_dim"].is_null()) {
    shape.heads = 1;
  } else {
    shape.head_channels = kDefaultHeadChannels;
    reader.read_optional("attention_head_dim", shape.head_channels);
  }
  reader.finish();
  return shape;
}

nlohmann::ordered_json config_of(const UNetShape& shape, std::int64_t sample_size) {
  const bool is_conditional = shape.context_dim > 0;
  const std::string attending = is_conditional ? "CrossAttn" : "Attn";
  std::vector<std::int64_t> widths;
  std::vector<std::string> down, up;
  for (std::int64_t i = 0; i < shape.num_levels(); ++i) {
    const std::string prefix = shape.has_attention(i) ? attending : "";
    widths.push_back(shape.width(i));
    down.push_back(prefix + "DownBlock2D");
    up.push_back(prefix + "UpBlock2D");
  }
  std::ranges::reverse(up);
  nlohmann::ordered_json config = {
      {"_class_name", is_conditional ? "UNet2DConditionModel" : "UNet2DModel"},
      {"act_fn", "silu"},
      {"block_out_channels", widths},
      {"center_input_sample", false},
      {"down_block_types", down},
      {"downsample_padding", shape.downsample_padding},
      {"dropout", shape.dropout},
      {"flip_sin_to_cos", !shape.time.is_sine_first},
      {"freq_shift", shape.time.freq_shift},
      {"in_channels", shape.in_channels},
      {"layers_per_block", shape.blocks_per_level},
      {"norm_eps", shape.norm_eps},
      {"norm_num_groups", shape.norm_groups},
      {"out_channels", shape.out_channels},
      {"resnet_time_scale_shift", shape.has_scale_shift ? "scale_shift" : "default"},
      {"sample_size", sample_size},
      {"up_block_types", up}};
  if (shape.num_labels > 0) config["num_class_embeds"] = shape.num_labels;
  if (is_conditional) {
    config["attention_head_dim"] = shape.heads;
    config["cross_attention_dim"] = shape.context_dim;
    config["transformer_layers_per_block"] = shape.context_depth;
    config["use_linear_projection"] = shape.has_linear_projection;
    return config;
  }
  config["attention_head_dim"] =
      shape.head_channels > 0 ? json(shape.head_channels) : json();  // null: one head
  config["downsample_type"] = shape.resizes_in_blocks ? "resnet" : "conv";
  config["upsample_type"] = shape.resizes_in_blocks ? "resnet" : "conv";
  return config;
}

DitShape dit_shape_from_config(const json& config, const std::string& origin) {
  ConfigReader reader(config, origin);
  DitShape shape;
  std::int64_t head_dim = 0, num_classes = 0;
  reader.read("num_attention_heads", shape.heads);
  reader.read("attention_head_dim", head_dim);
  reader.read("in_channels", shape.channels);
  shape.out_channels = shape.channels;
  reader.read_optional("out_channels", shape.out_channels);
  reader.read("num_layers", shape.depth);
  reader.read("sample_size", shape.height);
  reader.read("patch_size", shape.patch);
  reader.read("num_embeds_ada_norm", num_classes);
  reader.read_optional("norm_eps", shape.second_norm_eps);
  reader.require_value("activation_fn", "gelu-approximate");
  reader.require_value("attention_bias", true);
  reader.require_value("norm_type", "ada_norm_zero");
  reader.require_value("norm_elementwise_affine", false);
  shape.time_freq_shift = 1.0;  // diffusers knows no other
  reader.read_optional("kiln_time_freq_shift", shape.time_freq_shift);
  reader.finish();
  shape.width = shape.height;
  shape.dim = shape.heads * head_dim;
  shape.num_labels = num_classes + 1;  // the last row stands for "no class"
  return shape;
}

nlohmann::ordered_json config_of(const DitShape& shape) {
  nlohmann::ordered_json config = {{"_class_name", "DiTTransformer2DModel"},
                                   {"activation_fn", "gelu-approximate"},
                                   {"attention_bias", true},
                                   {"attention_head_dim", shape.dim / shape.heads},
                                   {"dropout", 0.0},
                                   {"in_channels", shape.channels},
                                   {"norm_elementwise_affine", false},
                                   {"norm_eps", shape.second_norm_eps},
                                   {"norm_num_groups", 32},
                                   {"norm_type", "ada_norm_zero"},
                                   {"num_attention_heads", shape.heads},
                                   {"num_embeds_ada_norm", shape.num_labels - 1},
                                   {"num_layers", shape.depth},
                                   {"out_channels", shape.out_channels},
                                   {"patch_size", shape.patch},
                                   {"sample_size", shape.height},
                                   {"upcast_attention", false}};
  if (shape.time_freq_shift != 1.0) config["kiln_time_freq_shift"] = shape.time_freq_shift;
  return config;
}

}  // namespace kiln
