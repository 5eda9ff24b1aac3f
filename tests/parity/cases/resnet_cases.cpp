#include <fmt/format.h>

#include <fstream>

#include "models/layers/linear.h"
#include "models/layers/submodule.h"
#include "models/resnet/resnet_names.h"
#include "tests/parity/runners.h"

// Residual networks in training mode: one pass with the statistics of the batch.

namespace kiln::parity {
namespace {

/// With the last layer under its usual name.
struct Classifier : ResNet {
  Classifier(const ResNetShape& choice, std::int64_t classes, const at::TensorOptions& options)
      : ResNet(choice, options) {
    fc = add<Linear>(*this, "fc", choice.dim(), classes, options);
  }
  std::shared_ptr<Linear> fc;
};

ResNetShape shape_of(const nlohmann::json& settings) {
  ResNetShape shape;
  shape.channels = settings.at("channels");
  shape.stem_width = settings.at("width");
  shape.depths = settings.at("depths").get<std::vector<std::int64_t>>();
  shape.has_bottlenecks = settings.at("bottleneck");
  shape.has_cifar_stem = settings.at("stem") == "cifar";
  shape.widths.clear();
  for (std::size_t s = 0; s < shape.depths.size(); ++s) {
    shape.widths.push_back((shape.stem_width << s) * (shape.has_bottlenecks ? 4 : 1));
  }
  return shape;
}

/// Ours under the case's names: transformers' where it was made with that, else torchvision's.
NamedTensors under_their_names(const NamedTensors& ours, const NameTable& table) {
  if (table.empty()) return ours;
  NamedTensors theirs;
  for (const NameRule& rule : table) {
    if (ours.contains(rule.ours)) theirs[rule.theirs[0]] = ours.at(rule.ours);
  }
  return theirs;
}

void compare_names(const Case& reference, const ResNetShape& shape, Report& report) {
  std::ifstream stream(reference.dir / "keys.json");
  if (!stream) return;
  const nlohmann::json keys = nlohmann::json::parse(stream).at("torchvision_to_transformers");
  const NameTable table = resnet_names(shape, true);
  report.expect(keys.size() == table.size(), "number of names in keys.json");
  for (const NameRule& rule : table) {
    report.expect(keys.contains(rule.ours) && keys[rule.ours] == rule.theirs[0],
                  "name of " + rule.ours);
  }
}

void run_resnet(Case& reference, Report& report) {
  const nlohmann::json& settings = reference.info.at("settings");
  const ResNetShape shape = shape_of(settings);
  const bool is_transformers = settings.at("library") == "transformers";
  const NameTable table = is_transformers ? resnet_names(shape, true) : NameTable();
  Classifier network(shape, settings.at("classes"), reference.options());
  load_tensors(
      network,
      is_transformers ? to_ours(table, reference.weights, reference.name) : reference.weights,
      reference.name);
  const at::Tensor images = reference.input("pixel_values");
  const auto head = [&](const at::Tensor& features) {
    return network.fc->forward(features.to(reference.type));
  };
  {
    const at::NoGradGuard no_grad;
    report.compare("eval_logits", head(network.forward(images, BatchNormMode::kEvaluation)));
  }
  BatchNorms norms(network);
  norms.begin();
  at::Tensor x = network.stem(images, BatchNormMode::kTraining);
  report.compare_if_stored("act.stem", x);
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    x = network.run_stage(s, x, BatchNormMode::kTraining);
    report.compare_if_stored(fmt::format("act.stage.{}", s), x);
  }
  report.compare_if_stored("act.pooled", pooled(x));
  const at::Tensor logits = head(pooled(x));
  const at::Tensor loss = at::cross_entropy_loss(logits, reference.at("labels"));
  loss.backward();
  norms.move(norms.sums());
  report.compare("logits", logits);
  report.compare("loss", loss);

  NamedTensors gradients, statistics;
  for (const auto& item : network.named_parameters()) {
    gradients[item.key()] = item.value().grad();
  }
  for (const auto& item : network.named_buffers()) statistics[item.key()] = item.value();
  for (const auto& [name, gradient] : under_their_names(gradients, table)) {
    report.compare("grad." + name, gradient);
  }
  for (const auto& [name, value] : under_their_names(statistics, table)) {
    report.compare("after." + name, value);
  }
  if (is_transformers) compare_names(reference, shape, report);
}

}  // namespace

Runners resnet_runners() {
  return {{.name = "resnet", .config_class = "ResNetForImageClassification", .run = run_resnet}};
}

}  // namespace kiln::parity
