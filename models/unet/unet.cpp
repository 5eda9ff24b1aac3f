#include "models/unet/unet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"
#include "models/layers/submodule.h"
#include "models/operators/fused.h"

namespace kiln {
namespace {

constexpr std::int64_t kTimeFactor = 4;  // T = 4 * channels

at::Tensor run_stage(const UNetStage& stage, at::Tensor x, const UNet::State& state,
                     DropoutStream& drop) {
  x = stage.res->forward(x, state.time, drop);
  if (stage.attention) return stage.attention->forward(x);
  return stage.transformer ? stage.transformer->forward(x, state.context) : x;
}

}  // namespace

bool UNetShape::has_attention(std::int64_t level) const {
  return std::ranges::find(attention_levels, level) != attention_levels.end();
}

std::vector<std::string> UNetShape::problems() const {
  std::vector<std::string> found;
  const auto expect = [&](bool holds, std::string problem) {
    if (!holds) found.push_back(std::move(problem));
  };
  expect(!multipliers.empty() && std::ranges::min(multipliers) > 0,
         "model.multipliers must hold one positive number per resolution");
  expect(channels > 0 && norm_groups > 0 && channels % std::max<std::int64_t>(norm_groups, 1) == 0,
         fmt::format("model.channels = {} is not a multiple of model.norm_groups = {}", channels,
                     norm_groups));
  expect(blocks_per_level > 0, fmt::format("model.blocks = {} must be positive", blocks_per_level));
  expect(dropout >= 0.0 && dropout < 1.0, fmt::format("model.dropout = {}", dropout));
  if (!found.empty()) return found;
  for (std::int64_t level = 0; level < num_levels(); ++level) {
    const bool is_deepest = level == num_levels() - 1;  // the middle always attends
    if (!has_attention(level) && !is_deepest) continue;
    const std::int64_t count = heads_of(width(level));
    expect(count > 0 && width(level) % count == 0,
           fmt::format("model: width {} of resolution {} cannot be cut into {} heads", width(level),
                       level, count));
  }
  for (const std::int64_t level : attention_levels) {
    expect(level >= 0 && level < num_levels(),
           fmt::format("model.attention_levels: there is no level {} of {}", level, num_levels()));
  }
  return found;
}

UNetResOptions UNet::res_options(std::int64_t in, std::int64_t out) const {
  return {.in = in,
          .out = out,
          .time_dim = kTimeFactor * shape.channels,
          .groups = shape.norm_groups,
          .eps = shape.norm_eps,
          .has_scale_shift = shape.has_scale_shift,
          .dropout = shape.dropout};
}

UNetStage UNet::make_stage(torch::nn::Module& resnets, torch::nn::Module& attentions,
                           std::size_t index, std::int64_t in, std::int64_t out, bool has_attention,
                           const at::TensorOptions& options) const {
  const std::string number = std::to_string(index);
  UNetStage stage;
  stage.res = add<UNetResBlock>(resnets, number, res_options(in, out), options);
  if (!has_attention) return stage;
  const std::int64_t heads = shape.heads_of(out);
  if (shape.context_dim > 0) {
    stage.transformer = add<SpatialTransformer>(attentions, number, out, heads, shape.context_depth,
                                                shape.context_dim, shape.norm_groups,
                                                shape.has_linear_projection, options);
  } else {
    stage.attention = add<UNetAttention>(attentions, number, out, heads, shape.norm_groups,
                                         shape.norm_eps, options);
  }
  return stage;
}

void UNet::add_down(torch::nn::Module& list, std::vector<std::int64_t>& skips,
                    const at::TensorOptions& options) {
  std::int64_t width = shape.channels;
  for (std::int64_t i = 0; i < shape.num_levels(); ++i) {
    const auto holder = add<torch::nn::Module>(list, std::to_string(i));
    const auto resnets = add<torch::nn::Module>(*holder, "resnets");
    const auto attentions = add<torch::nn::Module>(*holder, "attentions");
    UNetLevel level;
    for (std::int64_t j = 0; j < shape.blocks_per_level; ++j) {
      level.stages.push_back(make_stage(*resnets, *attentions, level.stages.size(), width,
                                        shape.width(i), shape.has_attention(i), options));
      width = shape.width(i);
      skips.push_back(width);
    }
    if (i + 1 < shape.num_levels()) {
      const auto resizing = add<torch::nn::Module>(*holder, "downsamplers");
      if (shape.resizes_in_blocks) {
        UNetResOptions res = res_options(width, width);
        res.resize = Resize::kHalve;
        level.resizing = add<UNetResBlock>(*resizing, "0", res, options);
      } else {
        const auto inner = add<torch::nn::Module>(*resizing, "0");
        level.conv =
            add<Conv2d>(*inner, "conv", width, width, 3, options, 2, shape.downsample_padding);
      }
      skips.push_back(width);
    }
    down.push_back(std::move(level));
  }
}

void UNet::add_up(torch::nn::Module& list, std::vector<std::int64_t>& skips,
                  const at::TensorOptions& options) {
  std::int64_t width = shape.width(shape.num_levels() - 1);
  for (std::int64_t i = shape.num_levels() - 1; i >= 0; --i) {
    const auto holder = add<torch::nn::Module>(list, std::to_string(up.size()));
    const auto resnets = add<torch::nn::Module>(*holder, "resnets");
    const auto attentions = add<torch::nn::Module>(*holder, "attentions");
    UNetLevel level;
    for (std::int64_t j = 0; j <= shape.blocks_per_level; ++j) {
      level.stages.push_back(make_stage(*resnets, *attentions, level.stages.size(),
                                        width + skips.back(), shape.width(i),
                                        shape.has_attention(i), options));
      skips.pop_back();
      width = shape.width(i);
    }
    if (i > 0) {
      const auto resizing = add<torch::nn::Module>(*holder, "upsamplers");
      if (shape.resizes_in_blocks) {
        UNetResOptions res = res_options(width, width);
        res.resize = Resize::kDouble;
        level.resizing = add<UNetResBlock>(*resizing, "0", res, options);
      } else {
        level.conv = add<Conv2d>(*add<torch::nn::Module>(*resizing, "0"), "conv", width, width, 3,
                                 options, 1, 1);
      }
    }
    up.push_back(std::move(level));
  }
}

UNet::UNet(const UNetShape& choice, const at::TensorOptions& options) : shape(choice) {
  shape.time.frequencies = shape.channels;
  const std::int64_t time_dim = kTimeFactor * shape.channels;
  const auto time = add<torch::nn::Module>(*this, "time_embedding");
  linear_1 = add<Linear>(*time, "linear_1", shape.channels, time_dim, options);
  linear_2 = add<Linear>(*time, "linear_2", time_dim, time_dim, options);
  if (shape.num_labels > 0) {
    const std::int64_t width = shape.has_label_context ? shape.context_dim : time_dim;
    class_table = add<torch::nn::Module>(*this, "class_embedding")
                      ->register_parameter("weight", at::empty({shape.num_labels, width}, options));
  }
  conv_in = add<Conv2d>(*this, "conv_in", shape.in_channels, shape.channels, 3, options, 1, 1);
  std::vector<std::int64_t> skips = {shape.channels};
  add_down(*add<torch::nn::Module>(*this, "down_blocks"), skips, options);

  const std::int64_t deepest = shape.width(shape.num_levels() - 1);
  const auto mid = add<torch::nn::Module>(*this, "mid_block");
  const auto resnets = add<torch::nn::Module>(*mid, "resnets");
  const auto attentions = add<torch::nn::Module>(*mid, "attentions");
  middle = make_stage(*resnets, *attentions, 0, deepest, deepest, true, options);
  middle_end = add<UNetResBlock>(*resnets, "1", res_options(deepest, deepest), options);

  add_up(*add<torch::nn::Module>(*this, "up_blocks"), skips, options);
  conv_norm_out = add<GroupNorm>(*this, "conv_norm_out", shape.norm_groups, shape.width(0),
                                 shape.norm_eps, options);
  conv_out = add<Conv2d>(*this, "conv_out", shape.width(0), shape.out_channels, 3, options, 1, 1);
}

at::Tensor UNet::embed_time(const at::Tensor& times) const {
  const at::Tensor frequencies =
      time_frequencies(times, shape.time, linear_1->weight.scalar_type());
  return linear_2->forward(at::silu(linear_1->forward(frequencies)));
}

UNet::State UNet::begin(const at::Tensor& times, const Conditioning& conditioning) const {
  State state;
  at::Tensor time = embed_time(times);
  state.context = conditioning.context;
  if (class_table.defined()) {
    KILN_CHECK(conditioning.labels.defined(), "a class-conditional U-Net without labels");
    const at::Tensor rows = class_table.index_select(0, conditioning.labels);
    if (shape.has_label_context) {
      state.context = rows.unsqueeze(1);  // [B, 1, E]
    } else {
      time = time + rows;
    }
  }
  if (state.context.defined()) state.context = state.context.to(time.scalar_type());
  state.time = at::silu(time);
  return state;
}

at::Tensor UNet::run_down(const UNetLevel& level, at::Tensor x, State& state,
                          DropoutStream& drop) const {
  for (const UNetStage& stage : level.stages) {
    x = run_stage(stage, x, state, drop);
    state.skips.push_back(x);
  }
  if (level.resizing) {
    x = level.resizing->forward(x, state.time, drop);
  } else if (level.conv) {
    if (shape.downsample_padding == 0) x = at::constant_pad_nd(x, {0, 1, 0, 1}, 0);
    x = level.conv->forward_trained(x);
  } else {
    return x;
  }
  state.skips.push_back(x);
  return x;
}

at::Tensor UNet::run_middle(at::Tensor x, const State& state, DropoutStream& drop) const {
  return middle_end->forward(run_stage(middle, std::move(x), state, drop), state.time, drop);
}

at::Tensor UNet::run_up(const UNetLevel& level, at::Tensor x, State& state,
                        DropoutStream& drop) const {
  for (const UNetStage& stage : level.stages) {
    x = run_stage(stage, fused_channel_join(x, state.skips.back()), state, drop);
    state.skips.pop_back();
  }
  if (level.resizing) return level.resizing->forward(x, state.time, drop);
  return level.conv ? level.conv->forward_trained(upsample_nearest(x)) : x;
}

at::Tensor UNet::finish(const at::Tensor& x) const {
  return conv_out->forward_trained(conv_norm_out->forward_silu(x));
}

at::Tensor UNet::forward(const at::Tensor& x, const at::Tensor& times,
                         const Conditioning& conditioning, DropoutStream& drop) const {
  State state = begin(times, conditioning);
  at::Tensor h = conv_in->forward_trained(x);
  state.skips.push_back(h);
  for (const UNetLevel& level : down) h = run_down(level, h, state, drop);
  h = run_middle(h, state, drop);
  for (const UNetLevel& level : up) h = run_up(level, h, state, drop);
  return finish(h);
}

std::vector<Parameter> UNet::trainable() const {
  std::vector<Parameter> list;
  for (const auto& item : named_parameters()) append_parameter(list, item.key(), item.value());
  return list;
}

// Matrices and convolutions uniform within 1 / sqrt(fan in), norms 1 and 0, the class table N(0,
// 1); zero, so that every branch begins as the identity and the output as 0: the last convolution
// of a residual block, what leaves an attention, and conv_out.
void UNet::initialise(std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  std::size_t index = 0;
  double fan_in = 1.0;
  for (Parameter& parameter : trainable()) {
    const std::string& name = parameter.name;
    at::Tensor& tensor = parameter.tensor;
    const Philox stream = init_stream(seed, index++);
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    const bool is_branch_end = has(".conv2.") || has(".proj_out.") || has("conv_out.") ||
                               (has(".to_out.") && !has("transformer_blocks"));
    if (has("norm")) {
      tensor.fill_(name.ends_with("weight") ? 1.0 : 0.0);
    } else if (is_branch_end) {
      tensor.zero_();
    } else if (has("class_embedding")) {
      fill_normal(tensor, 1.0, stream);
    } else {
      if (tensor.dim() > 1) fan_in = static_cast<double>(tensor.numel() / tensor.size(0));
      fill_uniform(tensor, 1.0 / std::sqrt(fan_in), stream);
    }
  }
}

}  // namespace kiln
