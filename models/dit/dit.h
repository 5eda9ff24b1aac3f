#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/layers/block.h"
#include "models/layers/diffusion_network.h"
#include "models/layers/patch_embed.h"

// Diffusion transformer with adaLN-Zero (Peebles and Xie, arXiv 2212.09748). Parameters carry the
// names of that code.
//
// B samples, C channels, H x W latent pixels, p patch side, L = H W / p^2 patches, D width, O
// output channels.

namespace kiln {

struct DitShape {
  std::int64_t channels = 4;
  std::int64_t out_channels = 4;  // twice the channels with a learned variance
  std::int64_t height = 32;
  std::int64_t width = 32;
  std::int64_t patch = 2;
  std::int64_t dim = 1152;
  std::int64_t depth = 28;
  std::int64_t heads = 16;
  std::int64_t num_labels = 0;   // rows of the class table, "no class" included; 0: none
  std::int64_t context_dim = 0;  // above 0: the mean of the context tokens joins the conditioning
  double time_freq_shift = 0.0;  // 1: diffusers
  double second_norm_eps = 1e-6;

  std::int64_t num_patches() const { return (height / patch) * (width / patch); }
  std::vector<std::string> problems() const;
};

/// x + g1 attn((1 + s1) LN(x) + h1), then x + g2 mlp((1 + s2) LN(x) + h2), where
/// (h1, s1, g1, h2, s2, g2) = Linear(silu(c)) and the norms have no weights.
struct DitBlock : torch::nn::Module {
  DitBlock(const DitShape& shape, const at::TensorOptions& options);
  /// x [B, L, D], c [B, D] after SiLU.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& c) const;
  /// The input of attention: (1 + s1) LN(x) + h1.
  at::Tensor first_input(const at::Tensor& x, const std::vector<at::Tensor>& modulation) const;
  /// (h1, s1, g1, h2, s2, g2), each [B, 1, D].
  std::vector<at::Tensor> modulation(const at::Tensor& c) const;

  double second_norm_eps;
  std::shared_ptr<Attention> attn;
  std::shared_ptr<Mlp> mlp;
  std::shared_ptr<Linear> ada_ln;  // [6 D, D]
};

struct Dit : DiffusionNetwork {
  Dit(const DitShape& shape, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& times, const Conditioning& conditioning,
                     DropoutStream& drop) const override;
  std::vector<Parameter> trainable() const override;
  /// As published: matrices and patch projection Xavier-uniform, biases 0, tables and time MLP
  /// N(0, 0.02), modulations and output zero: every block begins as the identity.
  void initialise(std::uint64_t seed) override;
  void add_work(WorkList& list, const Measures& measures) const override;

  // forward() in parts.
  at::Tensor embed(const at::Tensor& x) const;  // [B, C, H, W] -> [B, L, D], positions added
  at::Tensor condition(const at::Tensor& times, const Conditioning& conditioning) const;  // [B, D]
  at::Tensor finish(const at::Tensor& x, const at::Tensor& c) const;  // c after SiLU

  DitShape shape;
  /// Fixed positions [1, L, D]. No buffer: checkpoints do not hold them.
  mutable at::Tensor positions;
  std::shared_ptr<PatchEmbed> x_embedder;
  std::shared_ptr<Linear> time_in, time_out;  // t_embedder.mlp.0 and .2
  at::Tensor class_table;                     // [num_labels, D]
  std::shared_ptr<Linear> context_embedder;   // null without context
  std::vector<std::shared_ptr<DitBlock>> blocks;
  std::shared_ptr<Linear> final_linear, final_ada_ln;
};

}  // namespace kiln
