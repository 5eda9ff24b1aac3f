#include "models/diffusion/options.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/nearest_name.h"

namespace kiln {
namespace {

struct UNetPreset {
  const char* name;
  std::int64_t channels;
  std::vector<std::int64_t> multipliers, attention_levels;
  std::int64_t blocks, heads, head_channels, context_dim, norm_groups;
  bool has_scale_shift, resizes_in_blocks, has_label_context;
};
struct DitPreset {
  const char* name;
  std::int64_t dim, depth, heads, patch;
};

// ldm4: faces and bedrooms; ldm4_cin: ImageNet; ldm8: churches (arXiv 2112.10752); sd: Stable
// Diffusion 1; ddpm: CIFAR-10 (arXiv 2006.11239).
const std::vector<UNetPreset>& unets() {
  static const std::vector<UNetPreset> table = {
      {"unet_ldm4", 224, {1, 2, 3, 4}, {1, 2, 3}, 2, 1, 32, 0, 32, false, false, false},
      {"unet_ldm4_cin", 192, {1, 2, 3, 5}, {1, 2, 3}, 2, 1, 0, 512, 32, false, false, true},
      {"unet_ldm8", 192, {1, 2, 2, 4, 4}, {0, 1, 2, 3}, 2, 8, 0, 0, 32, true, true, false},
      {"unet_sd", 320, {1, 2, 4, 4}, {0, 1, 2}, 2, 8, 0, 768, 32, false, false, false},
      {"unet_ddpm", 128, {1, 2, 2, 2}, {1}, 2, 1, 0, 0, 32, false, false, false},
      {"unet_tiny", 32, {1, 2}, {1}, 1, 2, 0, 0, 8, false, false, false},
  };
  return table;
}

// arXiv 2212.09748, table 1.
const std::vector<DitPreset>& dits() {
  static const std::vector<DitPreset> table = {
      {"dit_s", 384, 12, 6, 2},    {"dit_b", 768, 12, 12, 2}, {"dit_l", 1024, 24, 16, 2},
      {"dit_xl", 1152, 28, 16, 2}, {"dit_tiny", 64, 4, 4, 2},
  };
  return table;
}

void fill(std::optional<std::int64_t>& value, std::int64_t fallback) {
  if (!value) value = fallback;
}

template <typename Preset>
const Preset* find(const std::vector<Preset>& table, const std::string& name) {
  const auto found = std::ranges::find_if(table, [&](const Preset& p) { return p.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace

std::vector<std::string> LatentDiffusionOptions::presets() {
  std::vector<std::string> names;
  for (const DitPreset& preset : dits()) names.push_back(preset.name);
  for (const UNetPreset& preset : unets()) names.push_back(preset.name);
  return names;
}

std::vector<std::string> LatentDiffusionOptions::resolve(const DatasetInfo& data) {
  std::vector<std::string> problems;
  if (const DitPreset* dit = find(dits(), preset)) {
    fill(dim, dit->dim), fill(depth, dit->depth), fill(heads, dit->heads), fill(patch, dit->patch);
  } else if (const UNetPreset* unet = find(unets(), preset)) {
    fill(channels, unet->channels), fill(blocks, unet->blocks), fill(heads, unet->heads);
    fill(head_channels, unet->head_channels), fill(norm_groups, unet->norm_groups);
    if (multipliers.empty()) multipliers = unet->multipliers;
    if (attention_levels.empty()) attention_levels = unet->attention_levels;
    if (context_dim == 0) context_dim = unet->context_dim;
  } else {
    problems.push_back(unknown_name("model.preset", preset, presets()));
  }
  const auto classes = static_cast<std::int64_t>(data.class_names.size());
  if (num_classes == 0) num_classes = classes;
  if (conditioning == "auto") conditioning = num_classes > 0 ? "class" : "none";
  if (conditioning == "class" && num_classes == 0) {
    problems.push_back(
        "model.conditioning = \"class\": the dataset names no classes and model.num_classes is 0");
  }
  if (conditioning == "class" && num_classes < classes) {
    problems.push_back(
        fmt::format("model.num_classes = {}: the dataset has {}", num_classes, classes));
  }
  if (conditioning == "text" && context_dim == 0) {
    problems.push_back("model.conditioning = \"text\" needs model.context_dim");
  }
  if (conditioning != "none" && conditioning != "class" && conditioning != "text") {
    problems.push_back(
        unknown_name("model.conditioning", conditioning, {"auto", "none", "class", "text"}));
  }
  if (!(label_dropout >= 0.0 && label_dropout < 1.0)) {
    problems.push_back(
        fmt::format("model.label_dropout = {}: expected 0 to below 1", label_dropout));
  }
  if (latent_scale == 0.0) {
    const double measured = data.number("latent_scale");
    latent_scale = measured > 0.0 ? measured : 1.0;
  }
  if (latent_scale < 0.0) {
    problems.push_back(fmt::format("model.latent_scale = {}: expected more than 0", latent_scale));
  }
  const std::string theirs = data.fact("autoencoder_hash");
  if (autoencoder_hash.empty()) autoencoder_hash = theirs;
  if (autoencoder_hash != theirs) {
    problems.push_back(fmt::format(
        "the dataset's latents are of another autoencoder: its hash is {}, model.autoencoder_hash "
        "is {}; encode the images again with `kiln encode`",
        theirs, autoencoder_hash));
  }
  return problems;
}

// One row more than classes, for "no class", where some samples are trained without theirs.
std::int64_t LatentDiffusionOptions::num_labels() const {
  if (conditioning != "class") return 0;
  return num_classes + (label_dropout > 0.0 || is_dit() ? 1 : 0);
}

UNetShape LatentDiffusionOptions::unet_shape(const DatasetInfo& data,
                                             bool has_learned_variance) const {
  const UNetPreset* known = find(unets(), preset);
  UNetShape shape;
  shape.in_channels = data.channels;
  shape.out_channels = (has_learned_variance ? 2 : 1) * data.channels;
  shape.channels = *channels;
  shape.multipliers = multipliers;
  if (attention_levels != std::vector<std::int64_t>{-1}) shape.attention_levels = attention_levels;
  shape.blocks_per_level = *blocks;
  shape.heads = *heads;
  shape.head_channels = *head_channels;
  shape.norm_groups = *norm_groups;
  shape.num_labels = num_labels();
  shape.has_label_context = known->has_label_context && conditioning == "class";
  if (conditioning == "text" || shape.has_label_context) shape.context_dim = context_dim;
  shape.has_scale_shift = scale_shift.value_or(known->has_scale_shift);
  shape.resizes_in_blocks = resize_in_blocks.value_or(known->resizes_in_blocks);
  shape.has_linear_projection = linear_projection;
  shape.context_depth = context_depth;
  shape.downsample_padding = downsample_padding;
  shape.norm_eps = norm_eps.value_or(shape.norm_eps);
  shape.time.freq_shift = time_freq_shift;
  shape.time.is_sine_first = sine_first;
  shape.dropout = dropout;
  return shape;
}

DitShape LatentDiffusionOptions::dit_shape(const DatasetInfo& data,
                                           bool has_learned_variance) const {
  DitShape shape;
  shape.channels = data.channels;
  shape.out_channels = (has_learned_variance ? 2 : 1) * data.channels;
  shape.height = data.height + 2 * pad;
  shape.width = data.width + 2 * pad;
  shape.patch = *patch;
  shape.dim = *dim;
  shape.depth = *depth;
  shape.heads = *heads;
  shape.num_labels = num_labels();
  shape.context_dim = conditioning == "text" ? context_dim : 0;
  shape.time_freq_shift = time_freq_shift;
  shape.second_norm_eps = norm_eps.value_or(shape.second_norm_eps);
  return shape;
}

LatentDiffusionOptions LatentDiffusionOptions::of(const UNetShape& shape) {
  LatentDiffusionOptions options;
  options.preset = "unet_tiny";
  options.conditioning = shape.context_dim > 0 ? "text" : shape.num_labels > 0 ? "class" : "none";
  options.num_classes = shape.num_labels;  // whether one of them means "no class" is not said
  options.label_dropout = 0.0;
  options.context_dim = shape.context_dim;
  options.channels = shape.channels;
  options.multipliers = shape.multipliers;
  options.attention_levels = shape.attention_levels;
  if (options.attention_levels.empty()) options.attention_levels = {-1};
  options.blocks = shape.blocks_per_level;
  options.heads = shape.heads;
  options.head_channels = shape.head_channels;
  options.norm_groups = shape.norm_groups;
  options.norm_eps = shape.norm_eps;
  options.scale_shift = shape.has_scale_shift;
  options.resize_in_blocks = shape.resizes_in_blocks;
  options.linear_projection = shape.has_linear_projection;
  options.context_depth = shape.context_depth;
  options.downsample_padding = shape.downsample_padding;
  options.time_freq_shift = shape.time.freq_shift;
  options.sine_first = shape.time.is_sine_first;
  options.dropout = shape.dropout;
  return options;
}

LatentDiffusionOptions LatentDiffusionOptions::of(const DitShape& shape) {
  LatentDiffusionOptions options;
  options.preset = "dit_tiny";
  options.conditioning = "class";
  options.num_classes = shape.num_labels - 1;
  options.dim = shape.dim;
  options.depth = shape.depth;
  options.heads = shape.heads;
  options.patch = shape.patch;
  options.time_freq_shift = shape.time_freq_shift;
  options.norm_eps = shape.second_norm_eps;
  return options;
}

}  // namespace kiln
