#include "models/interchange/vit_config.h"

#include <fmt/format.h>

#include "core/error.h"

namespace kiln {
namespace {

using nlohmann::json;

/// Reads keys and remembers what was wrong, so that one error can name everything.
class ConfigReader {
 public:
  ConfigReader(const json& config, std::string origin)
      : config_(config), origin_(std::move(origin)) {}

  template <typename T>
  void read(const char* key, T& value) {
    if (!config_.contains(key)) {
      problems_ += fmt::format("\n  {} is missing", key);
      return;
    }
    read_optional(key, value);
  }
  template <typename T>
  void read_optional(const char* key, T& value) {
    if (!config_.contains(key) || config_[key].is_null()) return;
    try {
      value = config_[key].get<T>();
    } catch (const json::exception&) {
      problems_ += fmt::format("\n  {} = {} is of the wrong type", key, config_[key].dump());
    }
  }
  /// image_size and patch_size are a number or [height, width].
  void read_size(const char* key, std::int64_t& height, std::int64_t& width) {
    if (config_.contains(key) && config_[key].is_array() && config_[key].size() == 2) {
      height = config_[key][0].get<std::int64_t>();
      width = config_[key][1].get<std::int64_t>();
    } else {
      read(key, height);
      width = height;
    }
  }
  void require(bool holds, const std::string& problem) {
    if (!holds) problems_ += "\n  " + problem;
  }
  void finish() const {
    if (problems_.empty()) return;
    throw checkpoint_error("{}: config.json cannot be followed:{}", origin_, problems_);
  }

 private:
  const json& config_;
  std::string origin_;
  std::string problems_;
};

void read_encoder(ConfigReader& reader, VitShape& shape) {
  std::int64_t patch_width = 0;
  std::string activation = "gelu";
  bool has_qkv_bias = true;
  reader.read_size("image_size", shape.height, shape.width);
  reader.read_size("patch_size", shape.patch, patch_width);
  reader.read("num_channels", shape.channels);
  reader.read("hidden_size", shape.dim);
  reader.read("num_hidden_layers", shape.depth);
  reader.read("num_attention_heads", shape.heads);
  reader.read("intermediate_size", shape.mlp_dim);
  reader.read("layer_norm_eps", shape.layer_norm_eps);
  reader.read_optional("hidden_act", activation);
  reader.read_optional("qkv_bias", has_qkv_bias);
  reader.require(activation == "gelu",
                 fmt::format("hidden_act = {}; only gelu is known", activation));
  reader.require(has_qkv_bias, "qkv_bias = false is not supported");
  reader.require(shape.patch == patch_width, "patch_size is not square");
}

}  // namespace

VitShape vit_shape_from_config(const json& config, const std::string& origin) {
  ConfigReader reader(config, origin);
  VitShape shape;
  read_encoder(reader, shape);
  reader.finish();
  return shape;
}

MaeShape mae_shape_from_config(const json& config, const std::string& origin) {
  ConfigReader reader(config, origin);
  MaeShape shape;
  read_encoder(reader, shape.encoder);
  reader.read("decoder_hidden_size", shape.decoder_dim);
  reader.read("decoder_num_hidden_layers", shape.decoder_depth);
  reader.read("decoder_num_attention_heads", shape.decoder_heads);
  reader.read("decoder_intermediate_size", shape.decoder_mlp_dim);
  reader.read("mask_ratio", shape.mask_ratio);
  reader.read("norm_pix_loss", shape.has_normalised_targets);
  reader.finish();
  return shape;
}

nlohmann::ordered_json config_of(const MaeShape& shape) {
  const VitShape& encoder = shape.encoder;
  nlohmann::ordered_json image_size = encoder.height;
  if (encoder.height != encoder.width) image_size = {encoder.height, encoder.width};
  return {{"architectures", {"ViTMAEForPreTraining"}},
          {"model_type", "vit_mae"},
          {"image_size", image_size},
          {"patch_size", encoder.patch},
          {"num_channels", encoder.channels},
          {"hidden_size", encoder.dim},
          {"num_hidden_layers", encoder.depth},
          {"num_attention_heads", encoder.heads},
          {"intermediate_size", encoder.mlp_dim},
          {"layer_norm_eps", encoder.layer_norm_eps},
          {"hidden_act", "gelu"},
          {"qkv_bias", true},
          {"hidden_dropout_prob", 0.0},
          {"attention_probs_dropout_prob", 0.0},
          {"initializer_range", 0.02},
          {"decoder_hidden_size", shape.decoder_dim},
          {"decoder_num_hidden_layers", shape.decoder_depth},
          {"decoder_num_attention_heads", shape.decoder_heads},
          {"decoder_intermediate_size", shape.decoder_mlp_dim},
          {"mask_ratio", shape.mask_ratio},
          {"norm_pix_loss", shape.has_normalised_targets},
          {"dtype", "float32"}};
}

nlohmann::ordered_json image_processor_config(const VitShape& shape,
                                              const PixelNormalisation& pixels) {
  const auto per_channel = [&](const std::vector<double>& values) {
    return values.size() > 1 ? values
                             : std::vector(static_cast<std::size_t>(shape.channels), values[0]);
  };
  return {{"image_processor_type", "ViTImageProcessor"},
          {"do_resize", true},
          {"size", {{"height", shape.height}, {"width", shape.width}}},
          {"resample", 3},
          {"do_rescale", true},
          {"rescale_factor", 1.0 / 255.0},
          {"do_normalize", true},
          {"image_mean", per_channel(pixels.mean())},
          {"image_std", per_channel(pixels.std())}};
}

DatasetInfo data_from_config(const VitShape& shape, const json& preprocessor) {
  DatasetInfo data;
  data.kind = "image";
  data.channels = shape.channels;
  data.height = shape.height;
  data.width = shape.width;
  const std::vector<double> half(static_cast<std::size_t>(shape.channels), 0.5);
  data.mean = preprocessor.is_object() ? preprocessor.value("image_mean", half) : half;
  data.std = preprocessor.is_object() ? preprocessor.value("image_std", half) : half;
  return data;
}

}  // namespace kiln
