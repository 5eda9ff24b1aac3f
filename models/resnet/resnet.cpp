#include "models/resnet/resnet.h"

#include <fmt/format.h>

#include <cmath>

#include "core/base/error.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"
#include "models/layers/submodule.h"

namespace kiln {
namespace {

constexpr std::int64_t kReduction = 4;  // of a bottleneck's inner width

struct Published {
  std::int64_t layers;
  std::vector<std::int64_t> depths;
  bool has_bottlenecks;
};

const std::vector<Published>& published() {
  static const std::vector<Published> table = {{18, {2, 2, 2, 2}, false},
                                               {34, {3, 4, 6, 3}, false},
                                               {50, {3, 4, 6, 3}, true},
                                               {101, {3, 4, 23, 3}, true},
                                               {152, {3, 8, 36, 3}, true}};
  return table;
}

}  // namespace

std::vector<std::int64_t> resnet_layers() {
  std::vector<std::int64_t> all;
  for (const Published& row : published()) all.push_back(row.layers);
  return all;
}

ResNetShape resnet_shape(std::int64_t layers, double factor) {
  const auto row = std::ranges::find(published(), layers, &Published::layers);
  if (row == published().end()) {
    throw usage_error("a residual network of {} layers: there are 18, 34, 50, 101 and 152", layers);
  }
  ResNetShape shape;
  shape.depths = row->depths;
  shape.has_bottlenecks = row->has_bottlenecks;
  shape.stem_width = std::llround(64.0 * factor);
  for (std::size_t s = 0; s < shape.widths.size(); ++s) {
    shape.widths[s] = (shape.stem_width << s) * (shape.has_bottlenecks ? kReduction : 1);
  }
  return shape;
}

std::vector<std::string> ResNetShape::problems() const {
  std::vector<std::string> found;
  const auto is_positive = [](std::int64_t value) { return value > 0; };
  if (channels < 1 || stem_width < 1) found.push_back("channels and widths must be at least 1");
  if (widths.empty() || widths.size() != depths.size() ||
      !std::ranges::all_of(widths, is_positive) || !std::ranges::all_of(depths, is_positive)) {
    found.push_back("every stage needs a width and a depth of at least 1");
  }
  for (const std::int64_t width : widths) {
    if (has_bottlenecks && width % kReduction != 0) {
      found.push_back(fmt::format("a width of {} is no multiple of {}, as bottlenecks need it",
                                  width, kReduction));
    }
  }
  return found;
}

ResidualBlock::ResidualBlock(std::int64_t in, std::int64_t out, std::int64_t stride,
                             bool is_bottleneck, const at::TensorOptions& options) {
  const auto add_conv = [&](std::int64_t from, std::int64_t to, std::int64_t kernel,
                            std::int64_t step) {
    const std::string number = std::to_string(convs.size() + 1);
    convs.push_back(
        add<Conv2d>(*this, "conv" + number, from, to, kernel, options, step, kernel / 2, false));
    norms.push_back(add<BatchNorm>(*this, "bn" + number, to, options));
  };
  if (is_bottleneck) {
    const std::int64_t inner = out / kReduction;
    add_conv(in, inner, 1, 1);
    add_conv(inner, inner, 3, stride);
    add_conv(inner, out, 1, 1);
  } else {
    add_conv(in, out, 3, stride);
    add_conv(out, out, 3, 1);
  }
  if (in == out && stride == 1) return;
  const auto downsample = add<torch::nn::Module>(*this, "downsample");
  shortcut = add<Conv2d>(*downsample, "0", in, out, 1, options, stride, 0, false);
  shortcut_norm = add<BatchNorm>(*downsample, "1", out, options);
}

at::Tensor ResidualBlock::forward(const at::Tensor& x, BatchNormMode mode) const {
  at::Tensor h = x;
  for (std::size_t i = 0; i + 1 < convs.size(); ++i) {
    h = norms[i]->forward_relu(convs[i]->forward_trained(h), mode);
  }
  h = convs.back()->forward_trained(h);
  const at::Tensor around =
      shortcut ? shortcut_norm->forward(shortcut->forward_trained(x), mode) : x;
  return norms.back()->forward_relu(h, mode, around);
}

ResNet::ResNet(const ResNetShape& choice, const at::TensorOptions& options) : shape(choice) {
  const bool is_small = shape.has_cifar_stem;
  conv1 = add<Conv2d>(*this, "conv1", shape.channels, shape.stem_width, is_small ? 3 : 7, options,
                      is_small ? 1 : 2, is_small ? 1 : 3, false);
  bn1 = add<BatchNorm>(*this, "bn1", shape.stem_width, options);
  std::int64_t in = shape.stem_width;
  for (std::size_t s = 0; s < shape.depths.size(); ++s) {
    const auto layer = add<torch::nn::Module>(*this, fmt::format("layer{}", s + 1));
    stages.emplace_back();
    for (std::int64_t i = 0; i < shape.depths[s]; ++i) {
      const std::int64_t stride = i == 0 && s > 0 ? 2 : 1;
      stages.back().push_back(add<ResidualBlock>(*layer, std::to_string(i), in, shape.widths[s],
                                                 stride, shape.has_bottlenecks, options));
      in = shape.widths[s];
    }
  }
}

at::Tensor ResNet::stem(const at::Tensor& images, BatchNormMode mode) const {
  const at::Tensor maps = bn1->forward_relu(conv1->forward_trained(images), mode);
  return shape.has_cifar_stem ? maps : at::max_pool2d(maps, {3, 3}, {2, 2}, {1, 1});
}

at::Tensor ResNet::run_stage(std::size_t stage, const at::Tensor& x, BatchNormMode mode) const {
  at::Tensor h = x;
  for (const auto& block : stages[stage]) h = block->forward(h, mode);
  return h;
}

at::Tensor pooled(const at::Tensor& maps) {
  const auto type = maps.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return maps.mean({2, 3}, /*keepdim=*/false, type);
}

at::Tensor ResNet::forward(const at::Tensor& images, BatchNormMode mode) const {
  at::Tensor maps = stem(images, mode);
  for (std::size_t s = 0; s < stages.size(); ++s) maps = run_stage(s, maps, mode);
  return pooled(maps);
}

std::vector<Parameter> resnet_parameters(const ResNet& network) {
  std::vector<Parameter> list;
  for (const auto& item : network.named_parameters()) {
    append_parameter(list, item.key(), item.value());
  }
  return list;
}

void initialise_resnet(const ResNet& network, std::uint64_t seed, bool has_zero_last_gamma,
                       std::size_t first) {
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : resnet_parameters(network)) {
    at::Tensor tensor = parameter.tensor;
    const Philox stream = init_stream(seed, first++);
    if (tensor.dim() == 4) {
      const auto fan_out = static_cast<double>(tensor.size(0) * tensor.size(2) * tensor.size(3));
      fill_normal(tensor, std::sqrt(2.0 / fan_out), stream);
    } else {
      tensor.fill_(parameter.name.ends_with(".bias") ? 0.0 : 1.0);
    }
  }
  if (!has_zero_last_gamma) return;
  for (const auto& stage : network.stages) {
    for (const auto& block : stage) at::Tensor(block->last_norm().weight).zero_();
  }
}

}  // namespace kiln
