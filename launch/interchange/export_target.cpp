#include "launch/interchange/export_target.h"

#include "core/base/error.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "data/latents/latent_source.h"
#include "launch/trained/loaded_model.h"
#include "models/autoencoder/objective.h"
#include "models/diffusion/options.h"

namespace kiln {
namespace {

/// What is known of an autoencoder's latents.
struct LatentFacts {
  double scale = 0.0;
  std::string autoencoder_hash;
};

LatentFacts facts_of_latents(const std::filesystem::path& path) {
  LatentFacts facts;
  if (std::filesystem::exists(path / "recipe.toml")) {
    RecipeReader reader = RecipeReader::from_file(path / "recipe.toml", {});
    LatentDiffusionOptions options;
    reader.read("model", options);
    facts = {options.latent_scale, options.autoencoder_hash};
  } else {
    const DatasetInfo info = describe_latents(Dataset(path));
    facts = {info.number("latent_scale"), info.fact("autoencoder_hash")};
  }
  if (facts.scale > 0.0 && !facts.autoencoder_hash.empty()) return facts;
  throw usage_error(
      "--latents '{}' is neither a dataset made by `kiln encode` nor a diffusion run trained on "
      "one",
      path.string());
}

}  // namespace

EvalTarget open_for_export(const std::filesystem::path& checkpoint,
                           const std::filesystem::path& latents) {
  if (latents.empty()) return open_target({.path = checkpoint.string(), .reads_data = false});
  const LatentFacts facts = facts_of_latents(latents);
  EvalTarget target =
      open_target({.path = checkpoint.string(),
                   .overrides = {fmt::format("model.latent_scale={:.17g}", facts.scale)},
                   .reads_data = false});
  if (!dynamic_cast<AutoencoderObjective*>(target.objective.get())) {
    throw usage_error("--latents: '{}' is no autoencoder", checkpoint.string());
  }
  if (const auto hash = hash_of_weights(*target.objective); hash != facts.autoencoder_hash) {
    throw usage_error(
        "the latents of '{}' are of another autoencoder (hash {}) than '{}' (hash {})",
        latents.string(), facts.autoencoder_hash, checkpoint.string(), hash);
  }
  return target;
}

void warn_of_unknown_scale(Objective& objective) {
  const auto* model = dynamic_cast<AutoencoderObjective*>(&objective);
  if (model == nullptr || model->options().latent_scale) return;
  log_warning(
      "scaling_factor in config.json is diffusers' own value: the scale of these latents is not "
      "known here. Export with --latents, the dataset that `kiln encode` made with this "
      "autoencoder");
}

}  // namespace kiln
