#include "models/diffusion/diffusion_format.h"

#include "core/base/error.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "models/diffusion/diffusion_names.h"
#include "models/diffusion/objective.h"
#include "models/interchange/config_reader.h"

namespace kiln {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

template <typename Network>
const Network* network_of(Objective& objective) {
  auto* model = dynamic_cast<LatentDiffusion*>(&objective);
  return model ? dynamic_cast<const Network*>(&model->network()) : nullptr;
}

ordered_json scheduler_of(Objective& objective) {
  return scheduler_config(dynamic_cast<LatentDiffusion&>(objective).formulation().options());
}

/// Keys of ours in config.json, which diffusers passes over.
void add_own_keys(Objective& objective, ordered_json& config) {
  const auto& options = dynamic_cast<LatentDiffusion&>(objective).options();
  if (options.latent_scale > 0.0) config["kiln_latent_scale"] = options.latent_scale;
}

template <typename Network, typename Shape>
InterchangeFormat::Made make_diffusion(const Shape& shape, std::int64_t channels,
                                       std::int64_t sample_size, const json& config,
                                       const json& scheduler, const std::string& origin) {
  FormulationOptions formulation = formulation_from_scheduler(scheduler, origin);
  LatentDiffusionOptions options = LatentDiffusionOptions::of(shape);
  options.latent_scale = config.value("kiln_latent_scale", 0.0);
  InterchangeFormat::Made made;
  made.data.kind = "latent";
  made.data.channels = channels;
  made.data.height = made.data.width = sample_size;
  RecipeReader reader = RecipeReader::from_text("", "import", {});
  reader.read("model", options);
  reader.read("model", formulation);
  made.recipe = reader.resolved_toml();
  made.objective = std::make_unique<LatentDiffusion>(
      std::make_shared<Network>(shape, at::TensorOptions()), options, formulation, made.data);
  return made;
}

template <bool kIsConditional>
InterchangeFormat unet_format(const char* model_type) {
  InterchangeFormat format{};
  format.model_type = model_type;
  format.config = [](Objective& objective) -> ordered_json {
    const auto* unet = network_of<UNet>(objective);
    // A class as a context token has no counterpart there.
    const bool fits =
        unet && (unet->shape.context_dim > 0) == kIsConditional && !unet->shape.has_label_context;
    if (!fits) return nullptr;
    ordered_json config =
        config_of(unet->shape, dynamic_cast<LatentDiffusion&>(objective).sample_shape()[1]);
    add_own_keys(objective, config);
    return config;
  };
  format.names = [](Objective& objective) {
    return unet_names(network_of<UNet>(objective)->shape);
  };
  format.preprocessor = scheduler_of;
  format.preprocessor_file = "scheduler_config.json";
  format.make = [](const json& config, const json& scheduler, const std::string& origin) {
    const UNetShape shape = unet_shape_from_config(config, origin);
    return make_diffusion<UNet>(shape, shape.in_channels,
                                config.value("sample_size", std::int64_t{64}), config, scheduler,
                                origin);
  };
  return format;
}

}  // namespace

InterchangeFormat unet_2d_format() { return unet_format<false>("UNet2DModel"); }
InterchangeFormat unet_2d_condition_format() { return unet_format<true>("UNet2DConditionModel"); }

InterchangeFormat dit_format() {
  InterchangeFormat format{};
  format.model_type = "DiTTransformer2DModel";
  format.config = [](Objective& objective) -> ordered_json {
    const auto* dit = network_of<Dit>(objective);
    // There it always has classes and square samples.
    const bool fits = dit && dit->shape.num_labels > 0 && dit->shape.context_dim == 0 &&
                      dit->shape.height == dit->shape.width;
    if (!fits) return nullptr;
    if (dit->shape.time_freq_shift != 1.0) {
      log_warning(
          "diffusers has model.time_freq_shift = 1 built in, this model was trained with {}: its "
          "outputs will differ there, by about 1e-3",
          dit->shape.time_freq_shift);
    }
    ordered_json config = config_of(dit->shape);
    add_own_keys(objective, config);
    return config;
  };
  format.names = [](Objective& objective) { return dit_names(network_of<Dit>(objective)->shape); };
  format.preprocessor = scheduler_of;
  format.preprocessor_file = "scheduler_config.json";
  format.make = [](const json& config, const json& scheduler, const std::string& origin) {
    const DitShape shape = dit_shape_from_config(config, origin);
    json learned = scheduler;
    if (shape.out_channels == 2 * shape.channels) learned["variance_type"] = "learned_range";
    return make_diffusion<Dit>(shape, shape.channels, shape.height, config, learned, origin);
  };
  return format;
}

ordered_json scheduler_config(const FormulationOptions& options) {
  if (options.formulation == "flow") {
    return {{"_class_name", "FlowMatchEulerDiscreteScheduler"},
            {"num_train_timesteps", 1000},
            {"shift", options.shift}};
  }
  if (options.formulation == "edm") {
    return {{"_class_name", "EDMEulerScheduler"},
            {"sigma_min", options.sigma_min},
            {"sigma_max", options.sigma_max},
            {"sigma_data", options.sigma_data},
            {"rho", 7.0},
            {"prediction_type", "epsilon"}};
  }
  if (options.formulation == "score") return nullptr;
  const bool is_cosine = options.beta_schedule == "cosine";
  ordered_json config = {
      {"_class_name", options.learn_variance ? "DDPMScheduler" : "DDIMScheduler"},
      {"num_train_timesteps", options.timesteps},
      {"beta_schedule", is_cosine ? "squaredcos_cap_v2" : options.beta_schedule},
      {"beta_start", options.beta_start},
      {"beta_end", options.beta_end},
      {"prediction_type", options.prediction == "x0"  ? "sample"
                          : options.prediction == "v" ? "v_prediction"
                                                      : "epsilon"},
      {"rescale_betas_zero_snr", options.zero_terminal_snr},
      {"clip_sample", false},
      {"timestep_spacing", "leading"},
      {"steps_offset", 0}};
  if (options.learn_variance) config["variance_type"] = "learned_range";
  return config;
}

FormulationOptions formulation_from_scheduler(const json& config, const std::string& origin) {
  FormulationOptions options;
  if (config.is_null()) return options;
  ConfigReader reader(config, origin + "/scheduler_config.json");
  std::string kind = "DDPMScheduler", schedule = options.beta_schedule, prediction = "epsilon";
  std::string variance;
  reader.read_optional("_class_name", kind);
  if (kind.starts_with("FlowMatch")) {
    options.formulation = "flow";
    reader.read_optional("shift", options.shift);
  } else if (kind.starts_with("EDM")) {
    options.formulation = "edm";
    reader.read_optional("sigma_min", options.sigma_min);
    reader.read_optional("sigma_max", options.sigma_max);
    reader.read_optional("sigma_data", options.sigma_data);
  } else {
    reader.read_optional("num_train_timesteps", options.timesteps);
    reader.read_optional("beta_schedule", schedule);
    reader.read_optional("beta_start", options.beta_start);
    reader.read_optional("beta_end", options.beta_end);
    reader.read_optional("prediction_type", prediction);
    reader.read_optional("rescale_betas_zero_snr", options.zero_terminal_snr);
    reader.read_optional("variance_type", variance);
    reader.require_value("trained_betas", nullptr);
    options.beta_schedule = schedule == "squaredcos_cap_v2" ? "cosine" : schedule;
    options.prediction = prediction == "sample"         ? "x0"
                         : prediction == "v_prediction" ? "v"
                                                        : prediction;
    options.learn_variance = variance == "learned_range";
  }
  reader.finish();
  return options;
}

}  // namespace kiln
