#include "models/resnet/resnet_classifier.h"

namespace kiln {
namespace {

/// Pixels of a map, which convolutions with a stride make fewer.
struct Map {
  std::int64_t samples, height, width;
  void stride(std::int64_t stride) {
    height = (height + stride - 1) / stride;
    width = (width + stride - 1) / stride;
  }
  std::int64_t rows() const { return samples * height * width; }
};

}  // namespace

void add_work(WorkList& list, const ResNet& network, std::int64_t samples, std::int64_t height,
              std::int64_t width) {
  Map map{samples, height, width};
  map.stride(network.conv1->stride);
  list.module("stem", *network.conv1, map.rows());
  list.module("stem", *network.bn1, map.rows());
  if (!network.shape.has_cifar_stem) map.stride(2);  // pooling
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    const std::string name = fmt::format("layer{}", s + 1);
    for (const auto& block : network.stages[s]) {
      for (std::size_t i = 0; i < block->convs.size(); ++i) {
        map.stride(block->convs[i]->stride);
        list.module(name, *block->convs[i], map.rows());
        list.module(name, *block->norms[i], map.rows());
      }
      if (!block->shortcut) continue;
      list.module(name + ".shortcut", *block->shortcut, map.rows());
      list.module(name + ".shortcut", *block->shortcut_norm, map.rows());
    }
  }
}

Workload::Work ResNetObjective::work(const Batch& like) {
  const at::Tensor& image = like.at("image");  // [B, H, W, C]
  WorkList list(parameters(0));
  add_work(list, *network_, image.size(0), image.size(1), image.size(2));
  list.module("fc", *network_->fc, image.size(0));
  return std::move(list).work();
}

}  // namespace kiln
