#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/dataset_info.h"
#include "core/recipe/options.h"
#include "models/layers/batch_norm.h"
#include "models/operators/dropout.h"
#include "models/resnet/resnet.h"
#include "models/vit/vit_options.h"

// B samples, H x W pixels, C channels, D width of the features.

namespace kiln {

using BackboneShape = std::variant<ResNetShape, VitShape>;

/// How positions are resampled for images of another size, bicubic (coefficient -0.75, edges
/// clamped, no antialiasing) in both: kSize samples at (i + 1/2) N / g - 1/2 for g patches a side
/// where there were N, as transformers does; kScale at (i + 1/2) N / (g + 0.1) - 1/2, as the
/// published code of DINO does.
enum class PositionResampling { kSize, kScale };

/// The linear map [1 + g g, 1 + N N] of a position table, class token first, from a grid of N to one
/// of g patches a side; fp64 on the host.
at::Tensor resampling_matrix(std::int64_t from, std::int64_t to, PositionResampling resampling);

/// The network whose features a method trains: a residual network, pooled, or a vision transformer,
/// its class token after the last norm. Registered with `owner` under `name`, with the names of
/// torchvision or timm below it.
class Backbone {
 public:
  Backbone(torch::nn::Module& owner, const std::string& name, const BackboneShape& shape,
           const at::TensorOptions& options,
           PositionResampling resampling = PositionResampling::kScale);

  /// Normalised images [B, H, W, C] -> [B, D], at least fp32. `drop` draws stochastic depth. A
  /// transformer takes square images of other sizes than its own, with resampled positions.
  at::Tensor forward(const at::Tensor& images, BatchNormMode mode, DropoutStream& drop) const;

  /// Positions [1, 1 + L, D] of square images of this side.
  at::Tensor positions(std::int64_t side) const;

  std::int64_t dim() const;
  bool is_vit() const { return vit_ != nullptr; }
  Vit& vit() const { return *vit_; }
  torch::nn::Module& module() const;
  /// What is trained, named NAME.PARAMETER.
  void append(std::vector<Parameter>& list) const;
  /// `first` numbers the first parameter; the number after the last one is returned.
  std::size_t initialise(std::uint64_t seed, bool has_zero_last_gamma, std::size_t first = 0) const;

 private:
  at::ScalarType type() const;

  std::string name_;
  std::shared_ptr<ResNet> resnet_;
  std::shared_ptr<Vit> vit_;
  PositionResampling resampling_;
  mutable std::map<std::int64_t, at::Tensor> matrices_;  // by grid
};

/// Keys of [model] that say which backbone.
struct BackboneOptions : VitOptions {
  std::string backbone = "resnet";
  std::int64_t layers = 50;
  double width = 1.0;
  std::string stem = "imagenet";
  bool zero_last_gamma = true;
  double drop_path = 0.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("backbone", backbone, "resnet | vit", kIdentity);
    visit("layers", layers, "resnet: 18 | 34 | 50 | 101 | 152.", kIdentity);
    visit("width", width, "resnet: factor of all widths.", kIdentity);
    visit("stem", stem,
          "resnet: imagenet (7 x 7, stride 2, pooled) | cifar (3 x 3, for small images).",
          kIdentity);
    visit("zero_last_gamma", zero_last_gamma, "resnet: each block starts as the identity.",
          kIdentity);
    VitOptions::describe(visit);
    visit("drop_path", drop_path, "vit: stochastic depth of the last block, rising from 0.",
          kIdentity);
  }

  /// Fills what the sizes imply; adds to `problems` what is wrong. `size`: side of the largest view.
  void resolve(const DatasetInfo& data, std::vector<std::string>& problems);
  /// After resolve() without problems. `data` has the size of the first view.
  BackboneShape shape(const DatasetInfo& data) const;
};

}  // namespace kiln
