#include "models/vit/vit.h"

#include <fmt/format.h>

#include <cmath>

#include "models/layers/init.h"
#include "models/layers/parameters.h"
#include "models/layers/positions.h"

namespace kiln {

std::vector<std::string> VitShape::problems() const {
  std::vector<std::string> found;
  if (patch < 1 || dim < 1 || depth < 0 || heads < 1 || mlp_dim < 1 || channels < 1) {
    found.push_back("sizes of a vision transformer must be positive");
    return found;
  }
  if (height % patch != 0 || width % patch != 0 || height < patch || width < patch) {
    found.push_back(
        fmt::format("images of {} x {} pixels cannot be cut into patches of {}; choose "
                    "model.patch or data.size so that it divides both",
                    height, width, patch));
  }
  if (dim % heads != 0)
    found.push_back(fmt::format("width {} is not a multiple of {} heads", dim, heads));
  if (dim % 4 != 0)
    found.push_back(
        fmt::format("width {} is not a multiple of 4, which the position table needs", dim));
  return found;
}

Vit::Vit(const VitShape& choice, const at::TensorOptions& options) : shape(choice) {
  const std::int64_t D = shape.dim, L = shape.num_patches();
  patch_embed = register_module(
      "patch_embed", std::make_shared<PatchEmbed>(shape.channels, shape.patch, D, options));
  cls_token = register_parameter("cls_token", at::empty({1, 1, D}, options));
  if (shape.has_learned_positions) {
    pos_embed = register_parameter("pos_embed", at::empty({1, 1 + L, D}, options));
  } else {
    pos_embed = register_buffer("pos_embed", fixed_positions(D, shape, options));
  }
  const BlockOptions block{.dim = D,
                           .heads = shape.heads,
                           .mlp_dim = shape.mlp_dim,
                           .layer_norm_eps = shape.layer_norm_eps};
  blocks = make_blocks(*this, "blocks", block, shape.depth, shape.drop_path, options);
  if (shape.has_final_norm) {
    norm = register_module("norm", std::make_shared<LayerNorm>(D, shape.layer_norm_eps, options));
  }
}

at::Tensor fixed_positions(std::int64_t dim, const VitShape& shape,
                           const at::TensorOptions& options) {
  const at::Tensor table =
      sincos_2d(dim, shape.height / shape.patch, shape.width / shape.patch, true);
  const auto type = options.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  return table.unsqueeze(0).to(options.device(), type);
}

at::Tensor gather_positions(const at::Tensor& table, const at::Tensor& ids) {
  const std::int64_t B = ids.size(0), N = ids.size(1), D = table.size(2);
  const at::Tensor rows = at::constant_pad_nd(ids + 1, {1, 0}, 0);  // [B, 1 + N]: 0, then 1 + ids
  return table[0].index_select(0, rows.reshape({-1})).view({B, 1 + N, D});
}

at::Tensor Vit::embed(const at::Tensor& patches, const at::Tensor& ids) const {
  const at::Tensor positions = ids.defined() ? gather_positions(pos_embed, ids) : pos_embed;
  return embed_at(patches, positions);
}

at::Tensor Vit::embed_at(const at::Tensor& patches, const at::Tensor& positions) const {
  const at::Tensor tokens = patch_embed->forward(patches);  // [B, N, D]
  const at::Tensor cls = cls_token.expand({patches.size(0), 1, shape.dim});
  return at::cat({cls, tokens}, 1) + positions.to(tokens.scalar_type());
}

at::Tensor Vit::run_blocks(at::Tensor x, DropoutStream& drop) const {
  for (const auto& block : blocks) x = block->forward(x, {}, drop);
  return norm ? norm->forward(x) : x;
}

at::Tensor Vit::encode(const at::Tensor& patches, const at::Tensor& ids,
                       DropoutStream& drop) const {
  return run_blocks(embed(patches, ids), drop);
}

at::Tensor Vit::encode_at(const at::Tensor& patches, const at::Tensor& positions,
                          DropoutStream& drop) const {
  return run_blocks(embed_at(patches, positions), drop);
}

std::vector<Parameter> vit_parameters(const Vit& vit) {
  std::vector<Parameter> list;
  append_parameters(list, "patch_embed", *vit.patch_embed);
  append_parameter(list, "cls_token", vit.cls_token);
  if (vit.shape.has_learned_positions) append_parameter(list, "pos_embed", vit.pos_embed);
  for (std::size_t i = 0; i < vit.blocks.size(); ++i) {
    append_parameters(list, fmt::format("blocks.{}", i), *vit.blocks[i]);
  }
  if (vit.norm) append_parameters(list, "norm", *vit.norm);
  return list;
}

void initialise_vit(std::vector<Parameter>& parameters, std::uint64_t seed) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    at::Tensor& tensor = parameters[i].tensor;
    const std::string& name = parameters[i].name;
    const at::NoGradGuard no_grad;
    if (name == "patch_embed.proj.bias") {
      // The projection's weight comes just before its bias.
      const at::Tensor& weight = parameters[i - 1].tensor;
      const auto fan_in = static_cast<double>(weight.numel() / weight.size(0));
      fill_uniform(tensor, 1.0 / std::sqrt(fan_in), init_stream(seed, i));
    } else if (name.ends_with("_token") || name == "pos_embed") {
      fill_normal(tensor, 0.02, init_stream(seed, i));
    } else if (tensor.dim() > 1) {
      fill_xavier_uniform(tensor, init_stream(seed, i));
    } else {
      tensor.fill_(name.ends_with(".bias") ? 0.0 : 1.0);
    }
  }
}

}  // namespace kiln
