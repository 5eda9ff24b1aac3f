#include "models/siamese/backbone.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/nearest_name.h"
#include "models/layers/image_input.h"
#include "models/layers/submodule.h"

namespace kiln {

at::Tensor resampling_matrix(std::int64_t from, std::int64_t to, PositionResampling resampling) {
  std::optional<double> scale;
  if (resampling == PositionResampling::kScale) {
    scale = (static_cast<double>(to) + 0.1) / static_cast<double>(from);
  }
  // Every patch's share in every other: the resampled unit tables.
  const at::Tensor unit = at::eye(from * from, at::kDouble).view({from * from, 1, from, from});
  const at::Tensor shares = at::upsample_bicubic2d(unit, {to, to}, false, scale, scale);
  const at::Tensor matrix = at::zeros({1 + to * to, 1 + from * from}, at::kDouble);
  matrix[0][0] = 1.0;
  matrix.slice(0, 1).slice(1, 1).copy_(shares.view({from * from, to * to}).t());
  return matrix;
}

Backbone::Backbone(torch::nn::Module& owner, const std::string& name, const BackboneShape& shape,
                   const at::TensorOptions& options, PositionResampling resampling)
    : name_(name), resampling_(resampling) {
  if (const auto* resnet = std::get_if<ResNetShape>(&shape)) {
    resnet_ = add<ResNet>(owner, name, *resnet, options);
  } else {
    vit_ = add<Vit>(owner, name, std::get<VitShape>(shape), options);
  }
}

torch::nn::Module& Backbone::module() const {
  return resnet_ ? static_cast<torch::nn::Module&>(*resnet_) : *vit_;
}

std::int64_t Backbone::dim() const { return resnet_ ? resnet_->shape.dim() : vit_->shape.dim; }

at::ScalarType Backbone::type() const {
  return (resnet_ ? resnet_->conv1->weight : vit_->cls_token).scalar_type();
}

at::Tensor Backbone::forward(const at::Tensor& images, BatchNormMode mode,
                             DropoutStream& drop) const {
  if (resnet_) return resnet_->forward(images.permute({0, 3, 1, 2}).to(type()), mode);
  const at::Tensor patches = patchify(images, vit_->shape.patch).to(type());
  const at::Tensor tokens = vit_->encode_at(patches, positions(images.size(1)), drop);
  const at::Tensor token = tokens.select(1, 0);  // [B, D]
  return token.scalar_type() == at::kDouble ? token : token.to(at::kFloat);
}

at::Tensor Backbone::positions(std::int64_t side) const {
  const at::Tensor& table = vit_->pos_embed;
  if (side == vit_->shape.height) return table;
  const std::int64_t grid = side / vit_->shape.patch;
  at::Tensor& matrix = matrices_[grid];
  if (!matrix.defined()) {
    matrix = resampling_matrix(vit_->shape.height / vit_->shape.patch, grid, resampling_)
                 .to(table.device(), table.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  }
  return matrix.matmul(table[0].to(matrix.scalar_type())).unsqueeze(0);
}

void Backbone::append(std::vector<Parameter>& list) const {
  for (Parameter& parameter : resnet_ ? resnet_parameters(*resnet_) : vit_parameters(*vit_)) {
    parameter.name = name_ + "." + parameter.name;
    list.push_back(std::move(parameter));
  }
}

std::size_t Backbone::initialise(std::uint64_t seed, bool has_zero_last_gamma,
                                 std::size_t first) const {
  if (resnet_) {
    initialise_resnet(*resnet_, seed, has_zero_last_gamma, first);
    return first + resnet_->parameters().size();
  }
  std::vector<Parameter> list = vit_parameters(*vit_);
  initialise_vit(list, seed);
  return first + list.size();
}

void BackboneOptions::resolve(const DatasetInfo& data, std::vector<std::string>& problems) {
  if (backbone != "resnet" && backbone != "vit") {
    problems.push_back(unknown_name("model.backbone", backbone, {"resnet", "vit"}));
  }
  if (backbone == "resnet") {
    const std::vector<std::int64_t> known = resnet_layers();
    if (std::ranges::find(known, layers) == known.end()) {
      problems.push_back(
          fmt::format("model.layers = {}: expected one of {}", layers, fmt::join(known, ", ")));
    }
    if (stem != "imagenet" && stem != "cifar") {
      problems.push_back(unknown_name("model.stem", stem, {"imagenet", "cifar"}));
    }
    if (!(width > 0.0)) problems.push_back("model.width must be above 0");
  } else if (!resolve_sizes()) {
    problems.push_back(unknown_name("model.preset", preset, vit_preset_names()));
  }
  if (!(drop_path >= 0.0 && drop_path < 1.0)) {
    problems.push_back("model.drop_path must be at least 0 and below 1");
  }
  if (!problems.empty()) return;
  const BackboneShape resolved = shape(data);
  for (const std::string& problem :
       std::visit([](const auto& one) { return one.problems(); }, resolved)) {
    problems.push_back("model: " + problem);
  }
}

BackboneShape BackboneOptions::shape(const DatasetInfo& data) const {
  if (backbone == "resnet") {
    ResNetShape resnet = resnet_shape(layers, width);
    resnet.channels = data.channels;
    resnet.has_cifar_stem = stem == "cifar";
    return resnet;
  }
  VitShape vit = encoder_shape(data);
  if (!data.views.empty()) vit.height = vit.width = data.views[0].size;
  vit.drop_path = drop_path;
  return vit;
}

}  // namespace kiln
