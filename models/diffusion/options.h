#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/recipe/options.h"
#include "models/diffusion/formulation.h"
#include "models/dit/dit.h"
#include "models/unet/unet.h"

namespace kiln {

/// [model] of a recipe with model.name = "latent_diffusion" or "pixel_diffusion", beside
/// FormulationOptions. A preset gives the network's sizes; keys beside it replace single ones.
struct LatentDiffusionOptions {
  std::string name = "latent_diffusion";
  std::string preset = "dit_s";
  std::string conditioning = "auto";
  std::int64_t num_classes = 0;
  std::int64_t context_dim = 0;
  double label_dropout = 0.1;
  double latent_scale = 0.0;
  std::string autoencoder;
  std::string autoencoder_hash;
  std::int64_t pad = 0;
  double dropout = 0.0;
  std::optional<std::int64_t> channels, blocks, heads, head_channels, norm_groups;
  std::vector<std::int64_t> multipliers, attention_levels;
  std::optional<std::int64_t> dim, depth, patch;
  double time_freq_shift = 0.0;
  std::optional<bool> scale_shift, resize_in_blocks;
  bool sine_first = false;
  bool linear_projection = false;
  std::int64_t context_depth = 1;
  std::int64_t downsample_padding = 1;
  std::optional<double> norm_eps;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    visit("preset", preset,
          "dit_s | dit_b | dit_l | dit_xl | dit_tiny; unet_ldm4 | unet_ldm4_cin | unet_ldm8 | "
          "unet_sd | unet_ddpm | unet_tiny; the keys below replace single sizes.",
          kIdentity);
    visit("conditioning", conditioning,
          "auto (class if the data has classes) | none | class | text (tokens in field context)",
          kIdentity);
    visit("num_classes", num_classes, "Classes; 0: as many as the dataset names.", kIdentity);
    visit("context_dim", context_dim, "text: width of a context token.", kIdentity);
    visit("label_dropout", label_dropout,
          "Share of samples trained without their class or text; above 0 guidance is possible.",
          kIdentity);
    visit(
        "latent_scale", latent_scale,
        "Latents are multiplied by this; 0: what dataset.json says, 1 / their standard deviation.",
        kIdentity);
    visit("autoencoder", autoencoder,
          "Run, checkpoint or Hugging Face folder whose latents these are: decodes samples.",
          kExecution);
    visit("autoencoder_hash", autoencoder_hash,
          "weights_hash of the autoencoder; latents of another are refused. Empty: the dataset's.",
          kIdentity);
    visit("pad", pad, "pixel_diffusion: black pixels added on each side.", kIdentity);
    visit("dropout", dropout, "unet: within residual blocks.", kIdentity);
    visit("channels", channels, "unet: width at full resolution.", kIdentity);
    visit("multipliers", multipliers, "unet: widths per resolution; [] the preset's.", kIdentity);
    visit("attention_levels", attention_levels,
          "unet: resolutions with attention, 0 the finest; [-1]: none; [] the preset's.",
          kIdentity);
    visit("blocks", blocks, "unet: residual blocks per resolution.", kIdentity);
    visit("heads", heads, "Attention heads.", kIdentity);
    visit("head_channels", head_channels, "unet: width of a head; 0: by number of heads.",
          kIdentity);
    visit("norm_groups", norm_groups, "unet: groups of the group norms.", kIdentity);
    visit("dim", dim, "dit: width.", kIdentity);
    visit("depth", depth, "dit: blocks.", kIdentity);
    visit("patch", patch, "dit: side of a patch in latent pixels.", kIdentity);
    visit("time_freq_shift", time_freq_shift,
          "0: frequencies of LDM, ADM and DiT; 1: of DDPM and diffusers' DiT.", kIdentity);
    visit("scale_shift", scale_shift, "unet: the time embedding scales and shifts.", kIdentity);
    visit("resize_in_blocks", resize_in_blocks,
          "unet: residual blocks change the resolution, not convolutions.", kIdentity);
    visit("sine_first", sine_first, "unet: sines before cosines in the time embedding (DDPM).",
          kIdentity);
    visit("linear_projection", linear_projection,
          "unet: matrices instead of 1 x 1 convolutions around context blocks.", kIdentity);
    visit("context_depth", context_depth, "unet: context blocks in a row.", kIdentity);
    visit("downsample_padding", downsample_padding,
          "unet: 1 on all sides; 0 on the right and at the bottom only.", kIdentity);
    visit("norm_eps", norm_eps, "Added to variances; unet 1e-5, dit (second norm) 1e-6.",
          kIdentity);
  }

  bool is_dit() const { return preset.starts_with("dit_"); }
  /// Fills what preset and data imply. Returns problems in the words of a recipe.
  std::vector<std::string> resolve(const DatasetInfo& data);
  /// After resolve(). `has_learned_variance` doubles the output's channels.
  UNetShape unet_shape(const DatasetInfo& data, bool has_learned_variance) const;
  DitShape dit_shape(const DatasetInfo& data, bool has_learned_variance) const;
  /// Options whose shape is this one, for networks made elsewhere.
  static LatentDiffusionOptions of(const UNetShape& shape);
  static LatentDiffusionOptions of(const DitShape& shape);
  static std::vector<std::string> presets();

 private:
  std::int64_t num_labels() const;
};

}  // namespace kiln
