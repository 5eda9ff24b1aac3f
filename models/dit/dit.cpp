#include "models/dit/dit.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "models/layers/image_input.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"
#include "models/layers/positions.h"
#include "models/layers/submodule.h"

namespace kiln {
namespace {

constexpr double kNormEps = 1e-6;

/// norm(x) (1 + scale) + shift
at::Tensor modulated_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale,
                          double eps) {
  DropoutStream none;
  return fused_residual_norm(
             {.x = x, .gamma = scale, .beta = shift, .eps = eps, .gamma_offset = 1.0}, none)
      .n;
}

}  // namespace

std::vector<std::string> DitShape::problems() const {
  std::vector<std::string> found;
  if (patch < 1 || height % patch != 0 || width % patch != 0) {
    found.push_back(
        fmt::format("model.patch = {} does not divide latents of {} x {}", patch, height, width));
  }
  if (heads < 1 || dim % heads != 0) {
    found.push_back(
        fmt::format("model.dim = {} is not a multiple of model.heads = {}", dim, heads));
  }
  if (dim % 4 != 0) {
    found.push_back(fmt::format("model.dim = {}: fixed positions need a multiple of 4", dim));
  }
  if (depth < 1) found.push_back(fmt::format("model.depth = {} must be positive", depth));
  return found;
}

DitBlock::DitBlock(const DitShape& shape, const at::TensorOptions& options)
    : second_norm_eps(shape.second_norm_eps) {
  ada_ln = add<Linear>(*add<torch::nn::Module>(*this, "adaLN_modulation"), "1", shape.dim,
                       6 * shape.dim, options);
  attn = add<Attention>(*this, "attn", AttentionOptions{shape.dim, shape.heads}, options);
  mlp = add<Mlp>(*this, "mlp", shape.dim, 4 * shape.dim, /*has_tanh_gelu=*/true, options);
}

std::vector<at::Tensor> DitBlock::modulation(const at::Tensor& c) const {
  return ada_ln->forward(c).unsqueeze(1).chunk(6, -1);
}

at::Tensor DitBlock::first_input(const at::Tensor& x, const std::vector<at::Tensor>& m) const {
  return modulated_norm(x, m[0], m[1], kNormEps);
}

at::Tensor DitBlock::forward(const at::Tensor& x, const at::Tensor& c) const {
  DropoutStream none;
  const auto m = modulation(c);
  const at::Tensor mixed = attn->mix(first_input(x, m), {}, none);
  const auto [h, inner] = fused_residual_norm({.x = x,
                                               .y = fused_linear(mixed, attn->proj->weight, {}),
                                               .bias = attn->proj->bias,
                                               .gate = m[2],
                                               .gamma = m[4],
                                               .beta = m[3],
                                               .eps = second_norm_eps,
                                               .gamma_offset = 1.0},
                                              none);
  return fused_residual_norm({.x = h,
                              .y = mlp->without_bias(inner),
                              .bias = mlp->fc2->bias,
                              .gate = m[5],
                              .has_norm = false},
                             none)
      .h;
}

Dit::Dit(const DitShape& choice, const at::TensorOptions& options) : shape(choice) {
  const std::int64_t D = shape.dim;
  const at::Tensor table =
      sincos_2d(D, shape.height / shape.patch, shape.width / shape.patch, /*has_cls=*/false);
  x_embedder = add<PatchEmbed>(*this, "x_embedder", shape.channels, shape.patch, D, options);
  positions = table.unsqueeze(0).to(x_embedder->proj->weight.options());
  const auto time = add<torch::nn::Module>(*add<torch::nn::Module>(*this, "t_embedder"), "mlp");
  time_in = add<Linear>(*time, "0", TimeEmbeddingOptions{}.frequencies, D, options);
  time_out = add<Linear>(*time, "2", D, D, options);
  if (shape.num_labels > 0) {
    class_table =
        add<torch::nn::Module>(*add<torch::nn::Module>(*this, "y_embedder"), "embedding_table")
            ->register_parameter("weight", at::empty({shape.num_labels, D}, options));
  }
  if (shape.context_dim > 0) {
    context_embedder = add<Linear>(*this, "context_embedder", shape.context_dim, D, options);
  }
  const auto list = add<torch::nn::Module>(*this, "blocks");
  for (std::int64_t i = 0; i < shape.depth; ++i) {
    blocks.push_back(add<DitBlock>(*list, std::to_string(i), shape, options));
  }
  const auto last = add<torch::nn::Module>(*this, "final_layer");
  final_ada_ln =
      add<Linear>(*add<torch::nn::Module>(*last, "adaLN_modulation"), "1", D, 2 * D, options);
  final_linear =
      add<Linear>(*last, "linear", D, shape.patch * shape.patch * shape.out_channels, options);
}

at::Tensor Dit::embed(const at::Tensor& x) const {
  const at::Tensor patches = patchify(x.permute({0, 2, 3, 1}), shape.patch);  // [B, L, p p C]
  if (positions.device() != patches.device()) positions = positions.to(patches.device());
  return x_embedder->forward(patches) + positions;
}

at::Tensor Dit::condition(const at::Tensor& times, const Conditioning& conditioning) const {
  const TimeEmbeddingOptions embedding{.freq_shift = shape.time_freq_shift};
  const auto type = time_in->weight.scalar_type();
  at::Tensor c =
      time_out->forward(at::silu(time_in->forward(time_frequencies(times, embedding, type))));
  if (class_table.defined()) {
    KILN_CHECK(conditioning.labels.defined(), "a class-conditional DiT without labels");
    c = c + class_table.index_select(0, conditioning.labels);
  }
  if (context_embedder) {
    c = c + context_embedder->forward(conditioning.context.to(type).mean(1));
  }
  return c;
}

at::Tensor Dit::finish(const at::Tensor& x, const at::Tensor& c) const {
  const auto m = final_ada_ln->forward(c).unsqueeze(1).chunk(2, -1);
  const at::Tensor patches = final_linear->forward(modulated_norm(x, m[0], m[1], kNormEps));
  return unpatchify(patches, shape.patch, shape.height, shape.width).permute({0, 3, 1, 2});
}

at::Tensor Dit::forward(const at::Tensor& x, const at::Tensor& times,
                        const Conditioning& conditioning, DropoutStream&) const {
  const at::Tensor c = at::silu(condition(times, conditioning));
  at::Tensor tokens = embed(x);
  for (const auto& block : blocks) tokens = block->forward(tokens, c);
  return finish(tokens, c);
}

std::vector<Parameter> Dit::trainable() const {
  std::vector<Parameter> list;
  for (const auto& item : named_parameters()) append_parameter(list, item.key(), item.value());
  return list;
}

void Dit::initialise(std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  std::size_t index = 0;
  for (Parameter& parameter : trainable()) {
    at::Tensor& tensor = parameter.tensor;
    const Philox stream = init_stream(seed, index++);
    const auto has = [&](const char* part) {
      return parameter.name.find(part) != std::string::npos;
    };
    if (tensor.dim() == 1 || has("adaLN_modulation") || has("final_layer")) {
      tensor.zero_();
    } else if (has("t_embedder") || has("embedding_table") || has("context_embedder")) {
      fill_normal(tensor, 0.02, stream);
    } else {
      fill_xavier_uniform(tensor, stream);
    }
  }
}

void Dit::add_work(WorkList& list, const Measures& measures) const {
  const std::int64_t B = measures.samples;
  const std::int64_t L = measures.height * measures.width / (shape.patch * shape.patch);
  list.module("x_embedder", *x_embedder, B * L);
  list.module("t_embedder", *time_in, B);
  list.module("t_embedder", *time_out, B);
  if (context_embedder) list.module("context_embedder", *context_embedder, B);
  for (const auto& block : blocks) {
    list.module("blocks.modulation", *block->ada_ln, B);
    list.module("blocks.qkv", *block->attn->qkv, B * L);
    list.attention("blocks.attention", B * shape.heads, L, L, shape.dim / shape.heads);
    list.module("blocks.proj", *block->attn->proj, B * L);
    list.module("blocks.mlp", *block->mlp, B * L);
  }
  list.module("final.modulation", *final_ada_ln, B);
  list.module("final", *final_linear, B * L);
}

}  // namespace kiln
