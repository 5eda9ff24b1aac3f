#include "models/autoencoder/autoencoder_format.h"

#include "core/report/log.h"
#include "core/torch.h"
#include "models/autoencoder/autoencoder_names.h"
#include "models/autoencoder/objective.h"

namespace kiln {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr double kDefaultLatentScale = 0.18215;  // of diffusers, where config.json has none

AutoencoderObjective* as_autoencoder(Objective& objective, Bottleneck bottleneck) {
  auto* found = dynamic_cast<AutoencoderObjective*>(&objective);
  return found && found->network().shape.bottleneck == bottleneck ? found : nullptr;
}

void warn_of_unknown_scale() {
  log_warning(
      "scaling_factor in config.json is diffusers' own value: the scale of these latents is not "
      "known here. Export with --latents, the dataset that `kiln encode` made with this "
      "autoencoder");
}

template <Bottleneck kBottleneck>
InterchangeFormat autoencoder_format(const char* model_type) {
  InterchangeFormat format{};
  format.model_type = model_type;
  format.aliases = autoencoder_aliases();
  format.config = [](Objective& objective) -> ordered_json {
    auto* model = as_autoencoder(objective, kBottleneck);
    if (!model) return nullptr;
    if (!model->options().latent_scale) warn_of_unknown_scale();
    const double fallback = kBottleneck == Bottleneck::kKl ? kDefaultLatentScale : 1.0;
    return config_of(model->network().shape, model->options().latent_scale.value_or(fallback), 256);
  };
  format.names = [](Objective& objective) {
    return autoencoder_names(as_autoencoder(objective, kBottleneck)->network().shape);
  };
  format.make = [](const json& config, const json&, const std::string& origin) {
    const AutoencoderShape shape = autoencoder_shape_from_config(config, origin);
    AutoencoderOptions options = AutoencoderOptions::of(shape);
    options.latent_scale = config.value("scaling_factor", kDefaultLatentScale);
    InterchangeFormat::Made made;
    made.data.kind = "image";
    made.data.channels = shape.image_channels;
    made.data.height = made.data.width = config.value("sample_size", std::int64_t{256});
    made.recipe = model_section(options);
    made.objective = std::make_unique<AutoencoderObjective>(shape, options, at::TensorOptions());
    return made;
  };
  return format;
}

}  // namespace

std::vector<InterchangeFormat> autoencoder_formats() {
  return {autoencoder_format<Bottleneck::kKl>("AutoencoderKL"),
          autoencoder_format<Bottleneck::kVq>("VQModel")};
}

}  // namespace kiln
