#include "models/autoencoder/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"
#include "models/layers/submodule.h"

namespace kiln {
namespace {

constexpr double kNormEps = 1e-6;

// Names such as "down.0.block.1" are modules within modules that only hold others.
std::shared_ptr<torch::nn::Module> add_list(torch::nn::Module& owner, const std::string& name) {
  return owner.register_module(name, std::make_shared<torch::nn::Module>());
}

}  // namespace

bool AutoencoderShape::has_attention(std::int64_t level) const {
  return std::ranges::find(attention_levels, level) != attention_levels.end();
}

std::vector<std::string> AutoencoderShape::problems() const {
  std::vector<std::string> found;
  const auto expect = [&](bool holds, std::string problem) {
    if (!holds) found.push_back(std::move(problem));
  };
  expect(!multipliers.empty() && std::ranges::min(multipliers) > 0,
         "model.multipliers must hold one positive number per resolution");
  expect(norm_groups > 0 && channels > 0 && channels % std::max<std::int64_t>(norm_groups, 1) == 0,
         fmt::format("model.channels = {} is not a multiple of model.norm_groups = {}", channels,
                     norm_groups));
  expect(blocks_per_level > 0, fmt::format("model.blocks = {} must be positive", blocks_per_level));
  expect(z_channels > 0 && latent_channels > 0,
         "model.z_channels and model.latent_channels must be positive");
  for (const std::int64_t level : attention_levels) {
    expect(level >= 0 && level < num_levels(),
           fmt::format("model.attention_levels: there is no level {} of {}", level, num_levels()));
  }
  expect(bottleneck == Bottleneck::kKl || num_codes > 1,
         fmt::format("model.codes = {}: a codebook needs at least two", num_codes));
  return found;
}

AutoencoderResBlock::AutoencoderResBlock(std::int64_t in, std::int64_t out, std::int64_t groups,
                                         const at::TensorOptions& options) {
  norm1 = add<GroupNorm>(*this, "norm1", groups, in, kNormEps, options);
  conv1 = add<Conv2d>(*this, "conv1", in, out, 3, options, 1, 1);
  norm2 = add<GroupNorm>(*this, "norm2", groups, out, kNormEps, options);
  conv2 = add<Conv2d>(*this, "conv2", out, out, 3, options, 1, 1);
  if (in != out) nin_shortcut = add<Conv2d>(*this, "nin_shortcut", in, out, 1, options);
}

at::Tensor AutoencoderResBlock::forward(const at::Tensor& x) const {
  const at::Tensor h = conv1->forward(at::silu(norm1->forward(x)));
  const at::Tensor branch = conv2->forward(at::silu(norm2->forward(h)));
  return (nin_shortcut ? nin_shortcut->forward(x) : x) + branch;
}

PixelAttention::PixelAttention(std::int64_t channels, std::int64_t groups,
                               const at::TensorOptions& options) {
  norm = add<GroupNorm>(*this, "norm", groups, channels, kNormEps, options);
  q = add<Linear>(*this, "q", channels, channels, options);
  k = add<Linear>(*this, "k", channels, channels, options);
  v = add<Linear>(*this, "v", channels, channels, options);
  proj_out = add<Linear>(*this, "proj_out", channels, channels, options);
}

at::Tensor PixelAttention::forward(const at::Tensor& x) const {
  const at::Tensor tokens = to_tokens(norm->forward(x));                     // [B, HW, C]
  const auto one_head = [](const at::Tensor& t) { return t.unsqueeze(1); };  // [B, 1, HW, C]
  const at::Tensor mixed = at::scaled_dot_product_attention(
      one_head(q->forward(tokens)), one_head(k->forward(tokens)), one_head(v->forward(tokens)));
  return x + from_tokens(proj_out->forward(mixed.squeeze(1)), x.size(2), x.size(3));
}

AutoencoderLevel::AutoencoderLevel(std::int64_t in, std::int64_t out, std::int64_t num_blocks,
                                   bool has_attention, std::int64_t groups, Change kind,
                                   const at::TensorOptions& options)
    : change(kind) {
  const auto blocks = add_list(*this, "block");
  const auto attentions = add_list(*this, "attn");
  for (std::int64_t i = 0; i < num_blocks; ++i) {
    block.push_back(add<AutoencoderResBlock>(*blocks, std::to_string(i), i == 0 ? in : out, out,
                                             groups, options));
    if (!has_attention) continue;
    attn.push_back(add<PixelAttention>(*attentions, std::to_string(i), out, groups, options));
  }
  if (change == Change::kHalve) {
    conv = add<Conv2d>(*add_list(*this, "downsample"), "conv", out, out, 3, options, 2, 0);
  } else if (change == Change::kDouble) {
    conv = add<Conv2d>(*add_list(*this, "upsample"), "conv", out, out, 3, options, 1, 1);
  }
}

at::Tensor AutoencoderLevel::forward(at::Tensor x) const {
  for (std::size_t i = 0; i < block.size(); ++i) {
    x = block[i]->forward(x);
    if (!attn.empty()) x = attn[i]->forward(x);
  }
  // Padding on the right and at the bottom only.
  if (change == Change::kHalve) return conv->forward(at::constant_pad_nd(x, {0, 1, 0, 1}, 0));
  if (change == Change::kDouble) return conv->forward(upsample_nearest(x));
  return x;
}

AutoencoderMiddle::AutoencoderMiddle(std::int64_t channels, std::int64_t groups,
                                     const at::TensorOptions& options) {
  block_1 = add<AutoencoderResBlock>(*this, "block_1", channels, channels, groups, options);
  attn_1 = add<PixelAttention>(*this, "attn_1", channels, groups, options);
  block_2 = add<AutoencoderResBlock>(*this, "block_2", channels, channels, groups, options);
}

at::Tensor AutoencoderMiddle::forward(const at::Tensor& x) const {
  return block_2->forward(attn_1->forward(block_1->forward(x)));
}

Encoder::Encoder(const AutoencoderShape& shape, const at::TensorOptions& options) {
  using Change = AutoencoderLevel::Change;
  conv_in = add<Conv2d>(*this, "conv_in", shape.image_channels, shape.channels, 3, options, 1, 1);
  const auto levels = add_list(*this, "down");
  std::int64_t width = shape.channels;
  for (std::int64_t i = 0; i < shape.num_levels(); ++i) {
    const auto change = i + 1 < shape.num_levels() ? Change::kHalve : Change::kNone;
    down.push_back(add<AutoencoderLevel>(*levels, std::to_string(i), width, shape.width(i),
                                         shape.blocks_per_level, shape.has_attention(i),
                                         shape.norm_groups, change, options));
    width = shape.width(i);
  }
  mid = add<AutoencoderMiddle>(*this, "mid", width, shape.norm_groups, options);
  norm_out = add<GroupNorm>(*this, "norm_out", shape.norm_groups, width, kNormEps, options);
  const std::int64_t out =
      shape.bottleneck == Bottleneck::kKl ? 2 * shape.z_channels : shape.z_channels;
  conv_out = add<Conv2d>(*this, "conv_out", width, out, 3, options, 1, 1);
}

at::Tensor Encoder::finish(const at::Tensor& x) const {
  return conv_out->forward(at::silu(norm_out->forward(x)));
}

at::Tensor Encoder::forward(const at::Tensor& image) const {
  at::Tensor x = conv_in->forward(image);
  for (const auto& level : down) x = level->forward(x);
  return finish(mid->forward(x));
}

Decoder::Decoder(const AutoencoderShape& shape, const at::TensorOptions& options) {
  using Change = AutoencoderLevel::Change;
  std::int64_t width = shape.width(shape.num_levels() - 1);
  conv_in = add<Conv2d>(*this, "conv_in", shape.z_channels, width, 3, options, 1, 1);
  mid = add<AutoencoderMiddle>(*this, "mid", width, shape.norm_groups, options);
  up.resize(static_cast<std::size_t>(shape.num_levels()));
  const auto levels = add_list(*this, "up");
  for (std::int64_t i = shape.num_levels() - 1; i >= 0; --i) {
    const auto change = i > 0 ? Change::kDouble : Change::kNone;
    up[static_cast<std::size_t>(i)] = add<AutoencoderLevel>(
        *levels, std::to_string(i), width, shape.width(i), shape.blocks_per_level + 1,
        shape.has_attention(i), shape.norm_groups, change, options);
    width = shape.width(i);
  }
  norm_out = add<GroupNorm>(*this, "norm_out", shape.norm_groups, width, kNormEps, options);
  conv_out = add<Conv2d>(*this, "conv_out", width, shape.image_channels, 3, options, 1, 1);
}

at::Tensor Decoder::finish(const at::Tensor& x) const {
  return conv_out->forward(at::silu(norm_out->forward(x)));
}

at::Tensor Decoder::forward(const at::Tensor& z) const {
  at::Tensor x = mid->forward(conv_in->forward(z));
  for (auto level = up.rbegin(); level != up.rend(); ++level) x = (*level)->forward(x);
  return finish(x);
}

Codebook::Codebook(std::int64_t codes, std::int64_t channels, bool is_learned,
                   const at::TensorOptions& options) {
  const auto holder = add_list(*this, "embedding");
  const at::Tensor empty = at::empty({codes, channels}, options);
  embedding = is_learned ? holder->register_parameter("weight", empty)
                         : holder->register_buffer("weight", empty);
}

Autoencoder::Autoencoder(const AutoencoderShape& choice, const at::TensorOptions& options,
                         bool has_learned_codes)
    : shape(choice) {
  const std::int64_t twice = shape.bottleneck == Bottleneck::kKl ? 2 : 1;
  encoder = add<Encoder>(*this, "encoder", shape, options);
  quant_conv = add<Conv2d>(*this, "quant_conv", twice * shape.z_channels,
                           twice * shape.latent_channels, 1, options);
  if (shape.bottleneck == Bottleneck::kVq) {
    quantize = add<Codebook>(*this, "quantize", shape.num_codes, shape.latent_channels,
                             has_learned_codes, options);
  }
  post_quant_conv =
      add<Conv2d>(*this, "post_quant_conv", shape.latent_channels, shape.z_channels, 1, options);
  decoder = add<Decoder>(*this, "decoder", shape, options);
}

at::Tensor Autoencoder::encode(const at::Tensor& image) const {
  return quant_conv->forward(encoder->forward(image));
}

at::Tensor Autoencoder::decode(const at::Tensor& latent) const {
  return decoder->forward(post_quant_conv->forward(latent));
}

std::vector<Parameter> autoencoder_parameters(const Autoencoder& network) {
  std::vector<Parameter> list;
  for (const auto& item : network.named_parameters()) {
    if (item.key().starts_with("discriminator.")) continue;  // registered by the objective
    append_parameter(list, item.key(), item.value());
  }
  return list;
}

void initialise_autoencoder(Autoencoder& network, std::uint64_t seed) {
  std::size_t index = 0;
  double fan_in = 1.0;
  for (Parameter& parameter : autoencoder_parameters(network)) {
    const std::string& name = parameter.name;
    at::Tensor& tensor = parameter.tensor;
    const Philox stream = init_stream(seed, index++);
    if (name.find("norm") != std::string::npos) {
      const at::NoGradGuard no_grad;
      tensor.fill_(name.ends_with("weight") ? 1.0 : 0.0);
      continue;
    }
    if (name == "quantize.embedding.weight") {
      fill_uniform(tensor, 1.0 / static_cast<double>(tensor.size(0)), stream);
      continue;
    }
    // A bias comes right after its weight and shares its bound.
    if (tensor.dim() > 1) fan_in = static_cast<double>(tensor.numel() / tensor.size(0));
    fill_uniform(tensor, 1.0 / std::sqrt(fan_in), stream);
  }
  if (network.quantize && !network.quantize->embedding.requires_grad()) {
    fill_uniform(network.quantize->embedding, 1.0 / static_cast<double>(network.shape.num_codes),
                 init_stream(seed, index));
  }
}

}  // namespace kiln
