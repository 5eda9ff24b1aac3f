#include "models/unet/unet.h"

// B samples, P pixels of a resolution, S context tokens.

namespace kiln {
namespace {

struct Sizes {
  std::int64_t B, P, S;
};

void add_res_block(WorkList& list, const std::string& name, const UNetResBlock& block,
                   const Sizes& sizes) {
  const std::int64_t rows = sizes.B * sizes.P;
  list.module(name + ".time", *block.time_emb_proj, sizes.B);
  list.module(name, *block.norm1, rows);
  list.module(name, *block.conv1, rows);
  list.module(name, *block.norm2, rows);
  list.module(name, *block.conv2, rows);
  if (block.conv_shortcut) list.module(name + ".shortcut", *block.conv_shortcut, rows);
}

void add_context_block(WorkList& list, const std::string& name, const ContextBlock& block,
                       const Sizes& sizes) {
  const auto& [B, P, S] = sizes;
  const std::int64_t heads = block.heads, width = block.self_out->weight.size(0) / heads;
  for (const auto& linear : {block.self_qkv, block.self_out, block.cross_q, block.cross_out,
                             block.ff_in, block.ff_out}) {
    list.module(name, *linear, B * P);
  }
  list.module(name, *block.cross_kv, B * S);
  list.attention(name + ".attention", B * heads, P, P, width);
  list.attention(name + ".attention", B * heads, P, S, width);
  for (const auto& norm : {block.norm1, block.norm2, block.norm3}) {
    list.module(name, *norm, B * P);
  }
}

void add_stage(WorkList& list, const std::string& name, const UNetStage& stage,
               const Sizes& sizes) {
  const std::int64_t rows = sizes.B * sizes.P;
  add_res_block(list, name, *stage.res, sizes);
  if (stage.attention) {
    const UNetAttention& attention = *stage.attention;
    list.module(name + ".attention", attention, rows);
    list.attention(name + ".attention", sizes.B * attention.heads, sizes.P, sizes.P,
                   attention.to_out->weight.size(0) / attention.heads);
  }
  if (!stage.transformer) return;
  const SpatialTransformer& transformer = *stage.transformer;
  list.module(name + ".transformer", *transformer.norm, rows);
  list.module(name + ".transformer", *transformer.proj_in, rows);
  for (const auto& block : transformer.transformer_blocks) {
    add_context_block(list, name + ".transformer", *block, sizes);
  }
  list.module(name + ".transformer", *transformer.proj_out, rows);
}

/// Leaves in `sizes` what comes after the level.
void add_level(WorkList& list, const std::string& name, const UNetLevel& level, bool is_halving,
               Sizes& sizes) {
  for (const UNetStage& stage : level.stages) add_stage(list, name, stage, sizes);
  if (!level.resizing && !level.conv) return;
  sizes.P = is_halving ? sizes.P / 4 : sizes.P * 4;
  if (level.resizing) add_res_block(list, name + ".resize", *level.resizing, sizes);
  if (level.conv) list.module(name + ".resize", *level.conv, sizes.B * sizes.P);
}

}  // namespace

void UNet::add_work(WorkList& list, const Measures& measures) const {
  const std::int64_t num_context =
      shape.has_label_context ? 1 : std::max<std::int64_t>(measures.context_tokens, 1);
  Sizes sizes{measures.samples, measures.height * measures.width, num_context};
  list.module("time", *linear_1, sizes.B);
  list.module("time", *linear_2, sizes.B);
  list.module("conv_in", *conv_in, sizes.B * sizes.P);
  for (std::size_t i = 0; i < down.size(); ++i) {
    add_level(list, fmt::format("down.{}", i), down[i], /*is_halving=*/true, sizes);
  }
  add_stage(list, "middle", middle, sizes);
  add_res_block(list, "middle", *middle_end, sizes);
  for (std::size_t i = 0; i < up.size(); ++i) {
    add_level(list, fmt::format("up.{}", i), up[i], /*is_halving=*/false, sizes);
  }
  list.module("conv_out", *conv_out, sizes.B * sizes.P);
}

}  // namespace kiln
