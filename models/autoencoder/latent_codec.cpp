#include "core/base/error.h"
#include "core/torch.h"
#include "models/autoencoder/objective.h"
#include "models/layers/workload.h"

// What an AutoencoderObjective is to those who use it trained, and what it costs.

namespace kiln {
namespace {

constexpr double kCertain = -30.0;  // the least log-variance there is

void add_attention(WorkList& list, const std::string& name, const PixelAttention& attention,
                   std::int64_t samples, std::int64_t pixels) {
  list.module(name + ".attention", attention, samples * pixels);
  list.attention(name + ".attention", samples, pixels, pixels, attention.q->weight.size(0));
}

/// `pixels`: of the level before its change of resolution. Returns those after it.
std::int64_t add_level(WorkList& list, const std::string& name, const AutoencoderLevel& level,
                       std::int64_t samples, std::int64_t pixels) {
  using Change = AutoencoderLevel::Change;
  for (const auto& block : level.block) list.module(name, *block, samples * pixels);
  for (const auto& attention : level.attn) add_attention(list, name, *attention, samples, pixels);
  if (level.change == Change::kHalve) pixels /= 4;
  if (level.change == Change::kDouble) pixels *= 4;
  if (level.conv) list.module(name + ".resize", *level.conv, samples * pixels);
  return pixels;
}

void add_middle(WorkList& list, const std::string& name, const AutoencoderMiddle& middle,
                std::int64_t samples, std::int64_t pixels) {
  list.module(name, *middle.block_1, samples * pixels);
  add_attention(list, name, *middle.attn_1, samples, pixels);
  list.module(name, *middle.block_2, samples * pixels);
}

}  // namespace

std::vector<std::int64_t> AutoencoderObjective::latent_shape(
    const std::vector<std::int64_t>& picture) const {
  const AutoencoderShape& shape = network_->shape;
  const std::int64_t height = picture[0] + 2 * options_.pad, width = picture[1] + 2 * options_.pad;
  if (picture[2] != shape.image_channels) {
    throw usage_error("images of {} channels, the autoencoder takes {}", picture[2],
                      shape.image_channels);
  }
  const std::int64_t f = shape.reduction();
  if (height % f != 0 || width % f != 0) {
    throw usage_error("images of {} x {} pixels cannot be reduced {} times", height, width, f);
  }
  return {shape.latent_channels, height / f, width / f};
}

std::vector<std::int64_t> AutoencoderObjective::picture_shape(
    const std::vector<std::int64_t>& latent) const {
  const AutoencoderShape& shape = network_->shape;
  if (latent[0] != shape.latent_channels) {
    throw usage_error("latents of {} channels, the autoencoder has {}", latent[0],
                      shape.latent_channels);
  }
  const std::int64_t f = shape.reduction(), pad = 2 * options_.pad;
  return {latent[1] * f - pad, latent[2] * f - pad, shape.image_channels};
}

at::Tensor AutoencoderObjective::moments(const at::Tensor& pictures) {
  const at::NoGradGuard no_grad;
  const auto type = network_->quant_conv->weight.scalar_type();
  const at::Tensor encoded = network_->encode(to_input(pictures).to(type));
  if (network_->shape.bottleneck == Bottleneck::kKl) return encoded;
  return at::cat({encoded, at::full_like(encoded, kCertain)}, 1);
}

at::Tensor AutoencoderObjective::decode_latents(const at::Tensor& latents) {
  const at::NoGradGuard no_grad;
  const at::Tensor& weight = network_->quant_conv->weight;
  const auto type = weight.scalar_type();
  at::Tensor latent = latents.to(weight.device(), type).contiguous(at::MemoryFormat::ChannelsLast);
  if (network_->quantize) latent = quantise(latent, network_->quantize->embedding).z_q.to(type);
  return to_pictures(network_->decode(latent));
}

Workload::Work AutoencoderObjective::work(const Batch& like) {
  const at::Tensor& image = like.at("image");  // [B, H, W, C]
  const std::int64_t B = like.num_samples, pad = 2 * options_.pad;
  std::int64_t pixels = (image.size(1) + pad) * (image.size(2) + pad);
  WorkList list(parameters(0));
  const Encoder& encoder = *network_->encoder;
  const Decoder& decoder = *network_->decoder;
  list.module("encoder.conv_in", *encoder.conv_in, B * pixels);
  for (std::size_t i = 0; i < encoder.down.size(); ++i) {
    pixels = add_level(list, fmt::format("encoder.{}", i), *encoder.down[i], B, pixels);
  }
  add_middle(list, "encoder.mid", *encoder.mid, B, pixels);
  list.module("encoder.conv_out", *encoder.conv_out, B * pixels);
  list.module("bottleneck", *network_->quant_conv, B * pixels);
  if (network_->quantize) {
    const at::Tensor& codes = network_->quantize->embedding;  // distances to all codes
    list.product("bottleneck.codes", B * pixels, codes.size(1), codes.size(0));
  }
  list.module("bottleneck", *network_->post_quant_conv, B * pixels);
  list.module("decoder.conv_in", *decoder.conv_in, B * pixels);
  add_middle(list, "decoder.mid", *decoder.mid, B, pixels);
  for (std::size_t i = decoder.up.size(); i-- > 0;) {
    pixels = add_level(list, fmt::format("decoder.{}", i), *decoder.up[i], B, pixels);
  }
  list.module("decoder.conv_out", *decoder.conv_out, B * pixels);
  return std::move(list).work();
}

}  // namespace kiln
