#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/diffusion/samplers.h"

namespace kiln {

class LatentDiffusion;
struct Conditioning;

/// Section [draw]: the options of `kiln sample` for these models.
struct GenerateOptions {
  SamplerOptions sampler;
  double guidance = 1.0;             // F = F_none + guidance (F_condition - F_none)
  std::int64_t guided_channels = 0;  // published DiT code guides 3 of 4
  std::string autoencoder;
  std::uint64_t seed = 0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    sampler.describe(visit);
    visit("guidance", guidance, "Classifier-free guidance; 1: none.", kExecution);
    visit("guided_channels", guided_channels, "Guide only the first so many channels; 0: all.",
          kExecution);
    visit("autoencoder", autoencoder, "Decodes latents; default: model.autoencoder of the recipe.",
          kExecution);
  }
};

/// Checks what can be checked before any work: sampler against formulation, guidance against
/// conditioning. Throws Error(kUsage). Returns the options with the sampler's name filled in.
GenerateOptions checked(GenerateOptions options, const LatentDiffusion& model);

/// Samples number first, first + 1, ... : all noise comes from Philox(seed, kSampling, number), so
/// a sample depends on its number, its condition and the size of the batch it is made in, not on
/// which rank makes it. Give batches of one size to have the same bits on any number of ranks.
///
/// `labels` [B] (num_classes: no class) or `context` [B, S, E] as the model's conditioning asks
/// for. Result [B, C, H, W] fp32: latents divided by latent_scale (where the
/// model knows it), or pixels in [-1, 1].
at::Tensor generate(LatentDiffusion& model, const GenerateOptions& options, std::int64_t first,
                    std::int64_t count, const Conditioning& conditioning,
                    const OnStep& on_step = {});

/// What samplers see of a model: estimates of x0 and noise, with guidance. State [B, C, H, W] of
/// any floating-point type.
Denoise denoiser(LatentDiffusion& model, const GenerateOptions& options,
                 const Conditioning& conditioning);

}  // namespace kiln
