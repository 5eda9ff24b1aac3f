#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/nearest_name.h"
#include "core/torch.h"
#include "models/layers/parameters.h"
#include "models/resnet/resnet_classifier.h"

namespace kiln {

ResNetOptions ResNetOptions::of(const ResNetShape& shape, std::int64_t num_classes) {
  ResNetOptions options;
  for (const std::int64_t number : resnet_layers()) {
    const ResNetShape published = resnet_shape(number, 1.0);
    const bool is_alike =
        published.depths == shape.depths && published.has_bottlenecks == shape.has_bottlenecks;
    if (is_alike) options.layers = number;
  }
  options.stem = shape.has_cifar_stem ? "cifar" : "imagenet";
  options.classes = num_classes;
  options.stem_width = shape.stem_width;
  options.widths = shape.widths;
  options.depths = shape.depths;
  options.bottlenecks = shape.has_bottlenecks;
  return options;
}

void ResNetOptions::resolve(const DatasetInfo& data, std::vector<std::string>& problems) {
  const std::vector<std::int64_t> known = resnet_layers();
  if (std::ranges::find(known, layers) == known.end()) {
    problems.push_back(
        fmt::format("model.layers = {}: expected one of {}", layers, fmt::join(known, ", ")));
  }
  if (stem != "imagenet" && stem != "cifar") {
    problems.push_back(unknown_name("model.stem", stem, {"imagenet", "cifar"}));
  }
  if (!(width > 0.0)) problems.push_back("model.width must be above 0");
  if (label_smoothing < 0.0 || label_smoothing >= 1.0) {
    problems.push_back("model.label_smoothing must be at least 0 and below 1");
  }
  classes = classes.value_or(static_cast<std::int64_t>(data.class_names.size()));
  if (*classes < 2) {
    problems.push_back(
        fmt::format("a classifier of {} classes: the dataset has no class names, so give "
                    "model.classes",
                    *classes));
  }
  if (!problems.empty()) return;
  const ResNetShape published = resnet_shape(layers, width);
  stem_width = stem_width.value_or(published.stem_width);
  if (widths.empty()) widths = published.widths;
  if (depths.empty()) depths = published.depths;
  bottlenecks = bottlenecks.value_or(published.has_bottlenecks);
  for (const std::string& problem : shape(data).problems()) problems.push_back("model: " + problem);
}

ResNetShape ResNetOptions::shape(const DatasetInfo& data) const {
  return {.channels = data.channels,
          .stem_width = *stem_width,
          .widths = widths,
          .depths = depths,
          .has_bottlenecks = *bottlenecks,
          .has_cifar_stem = stem == "cifar"};
}

std::unique_ptr<Objective> make_resnet(RecipeReader& reader, const Recipe& recipe,
                                       const DatasetInfo& data) {
  ResNetOptions options;
  reader.read("model", options);
  std::vector<std::string> problems;
  options.resolve(data, problems);
  reader.update("model", options);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  auto objective = std::make_unique<ResNetObjective>(
      options.shape(data), *options.classes, options.loss(),
      PixelNormalisation(data.mean, data.std), at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
