#include "models/resnet/resnet_format.h"

#include "models/interchange/config_reader.h"
#include "models/resnet/resnet_classifier.h"
#include "models/resnet/resnet_names.h"

namespace kiln {
namespace {

ResNetObjective& as_resnet(Objective& objective) {
  return dynamic_cast<ResNetObjective&>(objective);
}

std::int64_t num_classes_of(const nlohmann::json& config) {
  if (config.contains("id2label")) return static_cast<std::int64_t>(config["id2label"].size());
  return config.value("num_labels", std::int64_t{2});  // the hub's default
}

/// The data it expects: channels, and ImageNet's normalisation where nothing else is said.
DatasetInfo data_of(const ResNetShape& shape, const nlohmann::json& preprocessor) {
  DatasetInfo data;
  data.kind = "image";
  data.channels = shape.channels;
  data.height = data.width = shape.has_cifar_stem ? 32 : 224;
  const bool is_colour = shape.channels == 3;
  const auto three = [&](double r, double g, double b) {
    return is_colour ? std::vector<double>{r, g, b}
                     : std::vector<double>(static_cast<std::size_t>(shape.channels), 0.5);
  };
  data.mean = three(0.485, 0.456, 0.406);
  data.std = three(0.229, 0.224, 0.225);
  if (!preprocessor.is_object()) return data;
  data.mean = preprocessor.value("image_mean", data.mean);
  data.std = preprocessor.value("image_std", data.std);
  return data;
}

nlohmann::ordered_json preprocessor_of(Objective& objective) {
  ResNetObjective& resnet = as_resnet(objective);
  const auto channels = static_cast<std::size_t>(resnet.network().shape.channels);
  const auto per_channel = [&](const std::vector<double>& values) {
    return values.size() > 1 ? values : std::vector(channels, values[0]);
  };
  return {{"image_processor_type", "ConvNextImageProcessor"},
          {"do_resize", true},
          {"size", {{"shortest_edge", 224}}},
          {"crop_pct", 0.875},
          {"resample", 3},
          {"do_rescale", true},
          {"rescale_factor", 1.0 / 255.0},
          {"do_normalize", true},
          {"image_mean", per_channel(resnet.pixels().mean())},
          {"image_std", per_channel(resnet.pixels().std())}};
}

}  // namespace

InterchangeFormat resnet_format() {
  InterchangeFormat format;
  format.model_type = "resnet";
  format.config = [](Objective& objective) -> nlohmann::ordered_json {
    auto* resnet = dynamic_cast<ResNetObjective*>(&objective);
    if (resnet == nullptr) return nullptr;
    const ResNetClassifier& network = resnet->network();
    return config_of(network.shape, network.fc->weight.size(0));
  };
  format.names = [](Objective& objective) {
    return resnet_names(as_resnet(objective).network().shape, /*has_head=*/true);
  };
  format.preprocessor = preprocessor_of;
  format.make = [](const nlohmann::json& config, const nlohmann::json& preprocessor,
                   const std::string& origin) {
    const ResNetShape shape = resnet_shape_from_config(config, origin);
    const std::int64_t num_classes = num_classes_of(config);
    InterchangeFormat::Made made;
    made.data = data_of(shape, preprocessor);
    ResNetOptions options = ResNetOptions::of(shape, num_classes);
    made.recipe = model_section(options);
    made.objective = std::make_unique<ResNetObjective>(
        shape, num_classes, ResNetLoss{}, PixelNormalisation(made.data.mean, made.data.std),
        at::TensorOptions());
    return made;
  };
  return format;
}

}  // namespace kiln
