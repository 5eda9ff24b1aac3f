#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/recipe/options.h"
#include "models/autoencoder/network.h"

namespace kiln {

/// [model] of a recipe with model.name = "autoencoder". A preset gives all sizes; keys beside it
/// replace single ones.
struct AutoencoderOptions {
  std::string name = "autoencoder";
  std::string preset = "kl_f8";
  std::optional<std::int64_t> channels, blocks, z_channels, latent_channels, codes, norm_groups;
  std::vector<std::int64_t> multipliers, attention_levels;
  std::int64_t pad = 0;
  std::string pixel_loss = "l1";
  std::string perceptual = "none";
  double perceptual_weight = 1.0;
  double kl_weight = 1e-6;
  std::optional<double> latent_scale;
  double codebook_weight = 1.0;
  double beta = 0.25;
  bool legacy_beta = false;
  std::string codebook = "gradient";
  double codebook_decay = 0.99;
  double restart_below = 0.0;
  bool discriminator = false;
  std::int64_t discriminator_start = 50'001;
  double discriminator_weight = 0.5;
  std::int64_t discriminator_layers = 3;
  std::int64_t discriminator_channels = 64;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    visit("preset", preset,
          "kl_f4 | kl_f8 | kl_f16 | vq_f4 | vq_f8 | vqgan_f16 | tiny_kl | tiny_vq; the keys below "
          "replace single sizes.",
          kIdentity);
    visit("channels", channels, "Width at full resolution.", kIdentity);
    visit("multipliers", multipliers,
          "Widths per resolution, in units of channels; [] the preset's.", kIdentity);
    visit("blocks", blocks, "Residual blocks per resolution of the encoder.", kIdentity);
    visit("attention_levels", attention_levels,
          "Resolutions with attention, 0 the finest; [-1]: none; [] the preset's.", kIdentity);
    visit("z_channels", z_channels, "Channels between encoder and quant_conv.", kIdentity);
    visit("latent_channels", latent_channels, "Channels of the latent.", kIdentity);
    visit("codes", codes, "vq: size of the codebook.", kIdentity);
    visit("norm_groups", norm_groups, "Groups of the group norms.", kIdentity);
    visit("pad", pad, "Black pixels added on each side of an image.", kIdentity);
    visit("pixel_loss", pixel_loss, "l1 | l2", kIdentity);
    visit("perceptual", perceptual,
          "none | gradients (needs no file) | path of a .safetensors file with LPIPS weights.",
          kIdentity);
    visit("perceptual_weight", perceptual_weight, "Factor of the perceptual distance.", kIdentity);
    visit("kl_weight", kl_weight, "kl: factor of the divergence, summed over a sample's latent.",
          kIdentity);
    visit(
        "latent_scale", latent_scale,
        "Factor that brings latents to unit variance, noted in exports; `kiln encode` measures it.",
        kExecution);
    visit("codebook_weight", codebook_weight, "vq: factor of the quantiser's loss.", kIdentity);
    visit("beta", beta, "vq: factor of the commitment within it.", kIdentity);
    visit("legacy_beta", legacy_beta,
          "vq: beta on the codes instead, as VQGAN's published code has it.", kIdentity);
    visit("codebook", codebook, "vq: codes follow the gradient, or are averages (ema).", kIdentity);
    visit("codebook_decay", codebook_decay, "vq: decay per step of averages and usage.", kIdentity);
    visit("restart_below", restart_below,
          "vq, ema: a code used less than this share of the mean use is replaced by an encoder "
          "output; 0: never.",
          kIdentity);
    visit("discriminator", discriminator, "Adds a patch discriminator with hinge loss.", kIdentity);
    visit("discriminator_start", discriminator_start, "First step of the adversarial loss.",
          kIdentity);
    visit("discriminator_weight", discriminator_weight, "Factor on top of the adaptive weight.",
          kIdentity);
    visit("discriminator_layers", discriminator_layers, "Its convolutions that halve the image.",
          kIdentity);
    visit("discriminator_channels", discriminator_channels, "Its width after the first.",
          kIdentity);
  }

  /// Fills what the preset implies. False if there is no such preset.
  bool resolve();
  /// After resolve(). Channels come from the data.
  AutoencoderShape shape(std::int64_t image_channels) const;
  /// Options whose shape() is this one.
  static AutoencoderOptions of(const AutoencoderShape& shape);
  static std::vector<std::string> presets();

 private:
  Bottleneck bottleneck_ = Bottleneck::kKl;
};

}  // namespace kiln
