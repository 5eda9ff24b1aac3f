#include "models/mae/vit_config.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "models/interchange/config_reader.h"

namespace kiln {
namespace {

using nlohmann::json;

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

ClassifierShape classifier_shape_from_config(const json& config, const std::string& origin) {
  ConfigReader reader(config, origin);
  VitShape encoder;
  read_encoder(reader, encoder);
  encoder.has_learned_positions = true;
  std::int64_t num_classes = 2;  // the hub's default where config.json is silent
  reader.read_optional("num_labels", num_classes);
  if (config.contains("id2label")) {
    num_classes = static_cast<std::int64_t>(config["id2label"].size());
  }
  reader.finish();
  return classifier_shape(encoder, Pool::kCls, num_classes);
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

namespace {

void put_encoder(nlohmann::ordered_json& config, const VitShape& shape) {
  if (shape.height == shape.width) {
    config["image_size"] = shape.height;
  } else {
    config["image_size"] = {shape.height, shape.width};
  }
  config["patch_size"] = shape.patch;
  config["num_channels"] = shape.channels;
  config["hidden_size"] = shape.dim;
  config["num_hidden_layers"] = shape.depth;
  config["num_attention_heads"] = shape.heads;
  config["intermediate_size"] = shape.mlp_dim;
  config["layer_norm_eps"] = shape.layer_norm_eps;
  config["hidden_act"] = "gelu";
  config["qkv_bias"] = true;
  config["hidden_dropout_prob"] = 0.0;
  config["attention_probs_dropout_prob"] = 0.0;
  config["initializer_range"] = 0.02;
  config["dtype"] = "float32";
}

}  // namespace

nlohmann::ordered_json config_of(const MaeShape& shape) {
  nlohmann::ordered_json config = {{"architectures", {"ViTMAEForPreTraining"}},
                                   {"model_type", "vit_mae"}};
  put_encoder(config, shape.encoder);
  config["decoder_hidden_size"] = shape.decoder_dim;
  config["decoder_num_hidden_layers"] = shape.decoder_depth;
  config["decoder_num_attention_heads"] = shape.decoder_heads;
  config["decoder_intermediate_size"] = shape.decoder_mlp_dim;
  config["mask_ratio"] = shape.mask_ratio;
  config["norm_pix_loss"] = shape.has_normalised_targets;
  return config;
}

nlohmann::ordered_json config_of(const ClassifierShape& shape) {
  nlohmann::ordered_json config = {{"architectures", {"ViTForImageClassification"}},
                                   {"model_type", "vit"}};
  put_encoder(config, shape.encoder);
  for (std::int64_t k = 0; k < shape.num_classes; ++k) {
    const std::string label = fmt::format("LABEL_{}", k);
    config["id2label"][std::to_string(k)] = label;
    config["label2id"][label] = k;
  }
  config["problem_type"] = "single_label_classification";
  return config;
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
