#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/layers/diffusion_network.h"
#include "models/unet/blocks.h"

// The U-Net of DDPM, ADM and latent diffusion (arXiv 2006.11239, 2105.05233, 2112.10752).

namespace kiln {

struct UNetShape {
  std::int64_t in_channels = 4;
  std::int64_t out_channels = 4;
  std::int64_t channels = 32;
  std::vector<std::int64_t> multipliers = {1, 2};
  std::int64_t blocks_per_level = 1;
  std::vector<std::int64_t> attention_levels;  // 0: the finest; level l has 1 / 2^l the resolution
  std::int64_t heads = 1;                      // used where head_channels is 0
  std::int64_t head_channels = 0;
  std::int64_t context_dim = 0;  // above 0: cross-attention to context tokens of this width
  std::int64_t context_depth = 1;
  std::int64_t num_labels = 0;     // rows of the class table, "no class" included; 0: none
  bool has_label_context = false;  // the class is a context token, not a part of the time embedding
  bool has_scale_shift = false;
  bool resizes_in_blocks = false;  // residual blocks change resolution, not convolutions
  bool has_linear_projection = false;
  std::int64_t norm_groups = 32;
  double norm_eps = 1e-5;
  std::int64_t downsample_padding = 1;  // 0: on the right and at the bottom only
  TimeEmbeddingOptions time;            // its frequencies are `channels`
  double dropout = 0.0;

  std::int64_t num_levels() const { return static_cast<std::int64_t>(multipliers.size()); }
  std::int64_t width(std::int64_t level) const {
    return channels * multipliers.at(static_cast<std::size_t>(level));
  }
  std::int64_t heads_of(std::int64_t width) const {
    return head_channels > 0 ? width / head_channels : heads;
  }
  bool has_attention(std::int64_t level) const;
  std::vector<std::string> problems() const;
};

/// A residual block, perhaps with attention of either kind after it.
struct UNetStage {
  std::shared_ptr<UNetResBlock> res;
  std::shared_ptr<UNetAttention> attention;
  std::shared_ptr<SpatialTransformer> transformer;
};

/// Stages of one resolution and the change to the next.
struct UNetLevel {
  std::vector<UNetStage> stages;
  std::shared_ptr<Conv2d> conv;            // resizing by convolution, or
  std::shared_ptr<UNetResBlock> resizing;  // by residual block; both null at the end
};

struct UNet : DiffusionNetwork {
  UNet(const UNetShape& shape, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& times, const Conditioning& conditioning,
                     DropoutStream& drop) const override;
  std::vector<Parameter> trainable() const override;
  void initialise(std::uint64_t seed) override;
  void add_work(WorkList& list, const Measures& measures) const override;

  // forward() in parts.
  at::Tensor embed_time(const at::Tensor& times) const;  // [B, T], before the class and SiLU
  struct State {
    at::Tensor time;     // [B, T] after SiLU
    at::Tensor context;  // [B, S, E] or undefined
    std::vector<at::Tensor> skips;
  };
  State begin(const at::Tensor& times, const Conditioning& conditioning) const;
  at::Tensor run_down(const UNetLevel& level, at::Tensor x, State& state,
                      DropoutStream& drop) const;
  at::Tensor run_middle(at::Tensor x, const State& state, DropoutStream& drop) const;
  at::Tensor run_up(const UNetLevel& level, at::Tensor x, State& state, DropoutStream& drop) const;
  at::Tensor finish(const at::Tensor& x) const;

  UNetShape shape;
  std::shared_ptr<Linear> linear_1, linear_2;  // of the time embedding
  at::Tensor class_table;                      // [num_labels, T or E]
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::vector<UNetLevel> down, up;  // in order of execution
  UNetStage middle;
  std::shared_ptr<UNetResBlock> middle_end;
  std::shared_ptr<GroupNorm> conv_norm_out;

 private:
  UNetStage make_stage(torch::nn::Module& resnets, torch::nn::Module& attentions, std::size_t index,
                       std::int64_t in, std::int64_t out, bool has_attention,
                       const at::TensorOptions& options) const;
  UNetResOptions res_options(std::int64_t in, std::int64_t out) const;
  void add_down(torch::nn::Module& list, std::vector<std::int64_t>& skips,
                const at::TensorOptions& options);
  void add_up(torch::nn::Module& list, std::vector<std::int64_t>& skips,
              const at::TensorOptions& options);
};

}  // namespace kiln
