#include "models/resnet/resnet_names.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "models/interchange/config_reader.h"

namespace kiln {
namespace {

void add_conv_and_norm(NameTable& table, const std::string& conv, const std::string& norm,
                       const std::string& theirs) {
  table.push_back({conv + ".weight", {theirs + ".convolution.weight"}});
  for (const char* tensor :
       {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}) {
    table.push_back({norm + "." + tensor, {theirs + ".normalization." + tensor}});
  }
}

}  // namespace

NameTable resnet_names(const ResNetShape& shape, bool has_head) {
  NameTable table;
  add_conv_and_norm(table, "conv1", "bn1", "resnet.embedder.embedder");
  const std::int64_t num_convs = shape.has_bottlenecks ? 3 : 2;
  std::int64_t in = shape.stem_width;
  for (std::size_t s = 0; s < shape.depths.size(); ++s) {
    for (std::int64_t i = 0; i < shape.depths[s]; ++i) {
      const std::string ours = fmt::format("layer{}.{}", s + 1, i);
      const std::string theirs = fmt::format("resnet.encoder.stages.{}.layers.{}", s, i);
      for (std::int64_t j = 0; j < num_convs; ++j) {
        add_conv_and_norm(table, fmt::format("{}.conv{}", ours, j + 1),
                          fmt::format("{}.bn{}", ours, j + 1),
                          fmt::format("{}.layer.{}", theirs, j));
      }
      if (i == 0 && (s > 0 || in != shape.widths[s])) {
        add_conv_and_norm(table, ours + ".downsample.0", ours + ".downsample.1",
                          theirs + ".shortcut");
      }
    }
    in = shape.widths[s];
  }
  if (has_head) add_layer(table, "fc", "classifier.1");
  return table;
}

ResNetShape resnet_shape_from_config(const nlohmann::json& config, const std::string& origin) {
  ConfigReader reader(config, origin);
  ResNetShape shape;
  std::string layer_type = "bottleneck";
  reader.read_optional("num_channels", shape.channels);
  reader.read("embedding_size", shape.stem_width);
  reader.read("hidden_sizes", shape.widths);
  reader.read("depths", shape.depths);
  reader.read_optional("layer_type", layer_type);
  reader.require(layer_type == "bottleneck" || layer_type == "basic",
                 fmt::format("layer_type = {}; basic and bottleneck are known", layer_type));
  reader.require_value("hidden_act", "relu");
  reader.require_value("downsample_in_first_stage", false);
  reader.require_value("downsample_in_bottleneck", false);
  shape.has_bottlenecks = layer_type == "bottleneck";
  for (const std::string& problem : shape.problems()) reader.require(false, problem);
  reader.finish();
  return shape;
}

nlohmann::ordered_json config_of(const ResNetShape& shape, std::int64_t num_classes) {
  if (shape.has_cifar_stem) {
    throw usage_error(
        "a residual network with model.stem = \"cifar\" has no Hugging Face layout; with "
        "\"imagenet\" it has");
  }
  nlohmann::ordered_json config = {{"architectures", {"ResNetForImageClassification"}},
                                   {"model_type", "resnet"},
                                   {"num_channels", shape.channels},
                                   {"embedding_size", shape.stem_width},
                                   {"hidden_sizes", shape.widths},
                                   {"depths", shape.depths},
                                   {"layer_type", shape.has_bottlenecks ? "bottleneck" : "basic"},
                                   {"hidden_act", "relu"},
                                   {"downsample_in_first_stage", false},
                                   {"downsample_in_bottleneck", false},
                                   {"dtype", "float32"},
                                   {"problem_type", "single_label_classification"}};
  for (std::int64_t k = 0; k < num_classes; ++k) {
    const std::string label = fmt::format("LABEL_{}", k);
    config["id2label"][std::to_string(k)] = label;
    config["label2id"][label] = k;
  }
  return config;
}

}  // namespace kiln
