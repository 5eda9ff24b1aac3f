#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/torch.h"
#include "core/types.h"
#include "models/layers/batch_norm.h"
#include "models/layers/conv.h"
#include "models/layers/workload.h"

// B samples, C channels, H x W pixels, D width of the features.

namespace kiln {

/// The measures of a residual network (He et al., arXiv:1512.03385).
struct ResNetShape {
  std::int64_t channels = 3;
  std::int64_t stem_width = 64;
  std::vector<std::int64_t> widths = {256, 512, 1024, 2048};  // of the stages' outputs
  std::vector<std::int64_t> depths = {3, 4, 6, 3};            // blocks of the stages
  bool has_bottlenecks = true;
  /// 3 x 3 with stride 1 and no pooling, for small images; else 7 x 7 with stride 2, then pooling.
  bool has_cifar_stem = false;

  std::int64_t dim() const { return widths.back(); }
  /// What is wrong with these numbers, one line each, in the words of a recipe.
  std::vector<std::string> problems() const;
};

/// The published sizes: layers 18, 34 (basic blocks), 50, 101, 152 (bottlenecks), every width
/// multiplied by `factor`. Throws Error(kUsage) for other numbers of layers.
ResNetShape resnet_shape(std::int64_t layers, double factor);
std::vector<std::int64_t> resnet_layers();

/// relu(f(x) + shortcut(x)), f two 3 x 3 convolutions or a bottleneck of 1 x 1, 3 x 3, 1 x 1, each
/// with a batch norm. The first 3 x 3 has the stride, as in torchvision (v1.5).
struct ResidualBlock : torch::nn::Module {
  ResidualBlock(std::int64_t in, std::int64_t out, std::int64_t stride, bool is_bottleneck,
                const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x, BatchNormMode mode) const;
  /// The batch norm whose gamma may start at zero, so that the block starts as the identity.
  BatchNorm& last_norm() const { return *norms.back(); }

  std::vector<std::shared_ptr<Conv2d>> convs;
  std::vector<std::shared_ptr<BatchNorm>> norms;
  std::shared_ptr<Conv2d> shortcut;  // 1 x 1; null where x is added as it is
  std::shared_ptr<BatchNorm> shortcut_norm;
};

/// Stem, four stages, mean over the last map. Names of parameters are torchvision's, without the
/// last layer, `fc`.
struct ResNet : torch::nn::Module {
  ResNet(const ResNetShape& shape, const at::TensorOptions& options);

  /// Images [B, C, H, W] -> [B, stem_width, H / 4, W / 4], or H x W with the small stem.
  at::Tensor stem(const at::Tensor& images, BatchNormMode mode) const;
  at::Tensor run_stage(std::size_t stage, const at::Tensor& x, BatchNormMode mode) const;
  /// [B, C, H, W] -> [B, D], fp32 or fp64.
  at::Tensor forward(const at::Tensor& images, BatchNormMode mode) const;

  ResNetShape shape;
  std::shared_ptr<Conv2d> conv1;
  std::shared_ptr<BatchNorm> bn1;
  std::vector<std::vector<std::shared_ptr<ResidualBlock>>> stages;
};

/// A forward pass over `samples` pictures.
void add_work(WorkList& list, const ResNet& network, std::int64_t samples, std::int64_t height,
              std::int64_t width);

/// Mean over the pixels: [B, C, H, W] -> [B, C], fp32 or fp64.
at::Tensor pooled(const at::Tensor& maps);

/// In order of execution.
std::vector<Parameter> resnet_parameters(const ResNet& network);

/// Initial values as torchvision: convolutions N(0, 2 / (out k^2)), gamma 1, beta 0; the last gamma
/// of each block 0 if asked (Goyal et al., arXiv:1706.02677). `first` numbers the first parameter.
void initialise_resnet(const ResNet& network, std::uint64_t seed, bool has_zero_last_gamma,
                       std::size_t first = 0);

}  // namespace kiln
