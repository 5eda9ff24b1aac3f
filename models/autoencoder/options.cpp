#include "models/autoencoder/options.h"

#include <algorithm>
#include <array>

namespace kiln {
namespace {

struct Preset {
  const char* name;
  Bottleneck bottleneck;
  std::int64_t channels;
  std::vector<std::int64_t> multipliers;
  std::vector<std::int64_t> attention_levels;
  std::int64_t blocks, z_channels, latent_channels, codes, norm_groups;
};

// As published with arXiv 2112.10752 and 2012.09841 for images of 256 pixels; the tiny ones are for
// images of about 32 pixels.
const std::vector<Preset>& table() {
  static const std::vector<Preset> presets = {
      {"kl_f4", Bottleneck::kKl, 128, {1, 2, 4}, {}, 2, 3, 3, 0, 32},
      {"kl_f8", Bottleneck::kKl, 128, {1, 2, 4, 4}, {}, 2, 4, 4, 0, 32},
      {"kl_f16", Bottleneck::kKl, 128, {1, 1, 2, 2, 4}, {4}, 2, 16, 16, 0, 32},
      {"vq_f4", Bottleneck::kVq, 128, {1, 2, 4}, {}, 2, 3, 3, 8192, 32},
      {"vq_f8", Bottleneck::kVq, 128, {1, 2, 2, 4}, {3}, 2, 4, 4, 16384, 32},
      {"vqgan_f16", Bottleneck::kVq, 128, {1, 1, 2, 2, 4}, {4}, 2, 256, 256, 1024, 32},
      {"tiny_kl", Bottleneck::kKl, 32, {1, 2, 2}, {}, 1, 4, 4, 0, 8},
      {"tiny_vq", Bottleneck::kVq, 32, {1, 2, 2}, {}, 1, 4, 4, 256, 8},
  };
  return presets;
}

void fill(std::optional<std::int64_t>& value, std::int64_t fallback) {
  if (!value) value = fallback;
}

}  // namespace

bool AutoencoderOptions::resolve() {
  const auto found =
      std::ranges::find_if(table(), [this](const Preset& entry) { return entry.name == preset; });
  if (found == table().end()) return false;
  bottleneck_ = found->bottleneck;
  fill(channels, found->channels);
  fill(blocks, found->blocks);
  fill(z_channels, found->z_channels);
  fill(latent_channels, found->latent_channels);
  fill(codes, found->codes);
  fill(norm_groups, found->norm_groups);
  if (multipliers.empty()) multipliers = found->multipliers;
  if (attention_levels.empty()) attention_levels = found->attention_levels;
  if (attention_levels.empty()) attention_levels = {-1};
  return true;
}

AutoencoderShape AutoencoderOptions::shape(std::int64_t image_channels) const {
  AutoencoderShape shape;
  shape.bottleneck = bottleneck_;
  shape.image_channels = image_channels;
  shape.channels = *channels;
  shape.multipliers = multipliers;
  shape.blocks_per_level = *blocks;
  if (attention_levels != std::vector<std::int64_t>{-1}) shape.attention_levels = attention_levels;
  shape.z_channels = *z_channels;
  shape.latent_channels = *latent_channels;
  shape.num_codes = *codes;
  shape.norm_groups = *norm_groups;
  return shape;
}

AutoencoderOptions AutoencoderOptions::of(const AutoencoderShape& shape) {
  AutoencoderOptions options;
  options.preset = shape.bottleneck == Bottleneck::kKl ? "kl_f8" : "vq_f8";
  options.channels = shape.channels;
  options.multipliers = shape.multipliers;
  options.attention_levels = shape.attention_levels;
  if (options.attention_levels.empty()) options.attention_levels = {-1};
  options.blocks = shape.blocks_per_level;
  options.z_channels = shape.z_channels;
  options.latent_channels = shape.latent_channels;
  options.codes = shape.num_codes;
  options.norm_groups = shape.norm_groups;
  options.resolve();
  return options;
}

std::vector<std::string> AutoencoderOptions::presets() {
  std::vector<std::string> names;
  for (const Preset& preset : table()) names.push_back(preset.name);
  return names;
}

}  // namespace kiln
