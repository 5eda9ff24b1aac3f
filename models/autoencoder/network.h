#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/torch.h"
#include "core/types.h"
#include "models/layers/conv.h"
#include "models/layers/linear.h"

// First stage of latent diffusion (Rombach et al., arXiv 2112.10752) and VQGAN (Esser et al.,
// arXiv 2012.09841): one encoder and decoder for both. Parameters carry the names of that code.
//
// B samples, C image channels, H x W pixels, f = 2^(levels - 1) the factor of reduction,
// h x w = H/f x W/f latent pixels, Z channels between encoder and quant_conv, E of the latent,
// K codes.

namespace kiln {

enum class Bottleneck { kKl, kVq };

struct AutoencoderShape {
  Bottleneck bottleneck = Bottleneck::kKl;
  std::int64_t image_channels = 3;
  std::int64_t channels = 128;
  std::vector<std::int64_t> multipliers = {1, 2, 4, 4};  // one per level
  std::int64_t blocks_per_level = 2;
  std::vector<std::int64_t> attention_levels;  // levels with attention after each block
  std::int64_t z_channels = 4;
  std::int64_t latent_channels = 4;
  std::int64_t num_codes = 0;
  std::int64_t norm_groups = 32;

  std::int64_t num_levels() const { return static_cast<std::int64_t>(multipliers.size()); }
  std::int64_t reduction() const { return std::int64_t{1} << (num_levels() - 1); }
  std::int64_t width(std::int64_t level) const {
    return channels * multipliers.at(static_cast<std::size_t>(level));
  }
  bool has_attention(std::int64_t level) const;
  /// What is wrong with these numbers, in the words of a recipe.
  std::vector<std::string> problems() const;
};

/// x + conv2(silu(norm2(conv1(silu(norm1(x)))))), x through a 1 x 1 convolution where channels
/// change.
struct AutoencoderResBlock : torch::nn::Module {
  AutoencoderResBlock(std::int64_t in, std::int64_t out, std::int64_t groups,
                      const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;

  std::shared_ptr<GroupNorm> norm1, norm2;
  std::shared_ptr<Conv2d> conv1, conv2, nin_shortcut;  // the last may be null
};

/// Attention of all pixels to each other, one head, with a residual connection.
struct PixelAttention : torch::nn::Module {
  PixelAttention(std::int64_t channels, std::int64_t groups, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;

  std::shared_ptr<GroupNorm> norm;
  std::shared_ptr<Linear> q, k, v, proj_out;
};

/// Blocks of one resolution, then a change of resolution (null at the coarsest, or finest, level).
struct AutoencoderLevel : torch::nn::Module {
  /// Halves after the blocks (encoder) or doubles (decoder).
  enum class Change { kNone, kHalve, kDouble };
  AutoencoderLevel(std::int64_t in, std::int64_t out, std::int64_t num_blocks, bool has_attention,
                   std::int64_t groups, Change change, const at::TensorOptions& options);
  at::Tensor forward(at::Tensor x) const;

  std::vector<std::shared_ptr<AutoencoderResBlock>> block;
  std::vector<std::shared_ptr<PixelAttention>> attn;
  std::shared_ptr<Conv2d> conv;  // of downsample or upsample
  Change change;
};

struct AutoencoderMiddle : torch::nn::Module {
  AutoencoderMiddle(std::int64_t channels, std::int64_t groups, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;

  std::shared_ptr<AutoencoderResBlock> block_1, block_2;
  std::shared_ptr<PixelAttention> attn_1;
};

struct Encoder : torch::nn::Module {
  Encoder(const AutoencoderShape& shape, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& image) const;  // [B, C, H, W] -> [B, Z or 2Z, h, w]
  at::Tensor finish(const at::Tensor& x) const;       // norm, silu, convolution

  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::vector<std::shared_ptr<AutoencoderLevel>> down;
  std::shared_ptr<AutoencoderMiddle> mid;
  std::shared_ptr<GroupNorm> norm_out;
};

struct Decoder : torch::nn::Module {
  Decoder(const AutoencoderShape& shape, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& z) const;  // [B, Z, h, w] -> [B, C, H, W]
  at::Tensor finish(const at::Tensor& x) const;

  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::shared_ptr<AutoencoderMiddle> mid;
  std::vector<std::shared_ptr<AutoencoderLevel>> up;  // by level: the last one comes first
  std::shared_ptr<GroupNorm> norm_out;
};

struct Codebook : torch::nn::Module {
  Codebook(std::int64_t codes, std::int64_t channels, bool is_learned,
           const at::TensorOptions& options);

  at::Tensor embedding;  // [K, E]; a parameter if learned by gradient, else a buffer
};

struct Autoencoder : torch::nn::Module {
  /// `has_learned_codes`: whether codes follow the gradient; otherwise they are a buffer.
  Autoencoder(const AutoencoderShape& shape, const at::TensorOptions& options,
              bool has_learned_codes = true);
  /// Image in [-1, 1] -> kKl: moments [B, 2E, h, w]; kVq: z [B, E, h, w] before quantisation.
  at::Tensor encode(const at::Tensor& image) const;
  at::Tensor decode(const at::Tensor& latent) const;  // [B, E, h, w] -> [B, C, H, W]

  AutoencoderShape shape;
  std::shared_ptr<Encoder> encoder;
  std::shared_ptr<Decoder> decoder;
  std::shared_ptr<Conv2d> quant_conv, post_quant_conv;
  std::shared_ptr<Codebook> quantize;  // kVq
};

/// First values: convolutions and matrices uniform within 1 / sqrt(fan in), as these codes have
/// them, norms 1 and 0, codes uniform within 1 / K; from Philox(seed, kInit, number in
/// `parameters`).
void initialise_autoencoder(Autoencoder& network, std::uint64_t seed);

/// Parameters in order of execution.
std::vector<Parameter> autoencoder_parameters(const Autoencoder& network);

}  // namespace kiln
