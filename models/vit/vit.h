#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/torch.h"
#include "core/types.h"
#include "models/layers/block.h"
#include "models/layers/patch_embed.h"

// B samples, N patches given, L patches of an image, D width, P = p * p * C values of a patch.

namespace kiln {

/// The measures of a vision transformer (Dosovitskiy et al., arXiv:2010.11929).
struct VitShape {
  std::int64_t height = 0;  // pixels; multiples of `patch`
  std::int64_t width = 0;
  std::int64_t channels = 3;
  std::int64_t patch = 16;
  std::int64_t dim = 768;
  std::int64_t depth = 12;
  std::int64_t heads = 12;
  std::int64_t mlp_dim = 3072;
  double layer_norm_eps = 1e-6;
  bool has_learned_positions = false;  // else the fixed sin-cos table, a buffer
  bool has_final_norm = true;
  double drop_path = 0.0;  // of the last block; rises linearly from 0 at the first

  std::int64_t num_patches() const { return (height / patch) * (width / patch); }
  std::int64_t patch_values() const { return patch * patch * channels; }
  /// What is wrong with these numbers, one line each, in the words of a recipe.
  std::vector<std::string> problems() const;
};

/// Encoder: patches to tokens, a class token in front, pre-norm blocks, a layer norm.
///
/// Names of parameters are those of the original MAE and timm code.
struct Vit : torch::nn::Module {
  Vit(const VitShape& shape, const at::TensorOptions& options);

  /// patches [B, N, P] with their numbers ids [B, N] in the image, undefined for all L in order
  /// -> [B, 1 + N, D], the class token first. Positions are added.
  at::Tensor embed(const at::Tensor& patches, const at::Tensor& ids) const;
  /// embed(), blocks, norm.
  at::Tensor encode(const at::Tensor& patches, const at::Tensor& ids, DropoutStream& drop) const;
  /// encode() of all patches of an image of any size, with positions [1, 1 + N, D] of its grid.
  at::Tensor encode_at(const at::Tensor& patches, const at::Tensor& positions,
                       DropoutStream& drop) const;

  VitShape shape;
  at::Tensor cls_token;  // [1, 1, D]
  at::Tensor pos_embed;  // [1, 1 + L, D]
  std::shared_ptr<PatchEmbed> patch_embed;
  std::vector<std::shared_ptr<TransformerBlock>> blocks;
  std::shared_ptr<LayerNorm> norm;  // null without final norm

 private:
  at::Tensor embed_at(const at::Tensor& patches, const at::Tensor& positions) const;
  at::Tensor run_blocks(at::Tensor x, DropoutStream& drop) const;
};

/// Rows 0 (class token) and 1 + ids of a position table [1, 1 + L, D]: [B, 1 + N, D].
at::Tensor gather_positions(const at::Tensor& table, const at::Tensor& ids);

/// The sin-cos table [1, 1 + L, dim] of this shape's patch grid, the class token's row zero; fp32,
/// or fp64 where the weights are.
at::Tensor fixed_positions(std::int64_t dim, const VitShape& shape,
                           const at::TensorOptions& options);

/// Parameters in order of execution.
std::vector<Parameter> vit_parameters(const Vit& vit);

/// Initial values as the original MAE code: matrices and patch projection Xavier-uniform, tokens
/// and learned positions N(0, 0.02), norms 1, biases 0, the projection's bias on the bounds of a
/// convolution.
void initialise_vit(std::vector<Parameter>& parameters, std::uint64_t seed);

}  // namespace kiln
