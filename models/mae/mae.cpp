#include "models/mae/mae.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "models/kernels/device/device_patches.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"
#include "models/mae/mae_input.h"
#include "models/operators/precision.h"

namespace kiln {
std::int64_t MaeShape::num_visible() const {
  return static_cast<std::int64_t>(static_cast<double>(encoder.num_patches()) * (1.0 - mask_ratio));
}

std::vector<std::string> MaeShape::problems() const {
  std::vector<std::string> found = encoder.problems();
  VitShape decoder = encoder;
  decoder.dim = decoder_dim;
  decoder.depth = decoder_depth;
  decoder.heads = decoder_heads;
  decoder.mlp_dim = decoder_mlp_dim;
  for (const std::string& problem : decoder.problems()) {
    if (std::ranges::find(found, problem) == found.end()) found.push_back("decoder: " + problem);
  }
  if (!(mask_ratio > 0.0 && mask_ratio < 1.0)) {
    found.push_back(fmt::format("model.mask_ratio = {} is not between 0 and 1", mask_ratio));
  } else if (found.empty() && (num_visible() < 1 || num_masked() < 1)) {
    found.push_back(
        fmt::format("model.mask_ratio = {} of {} patches leaves {} visible and {} masked; "
                    "both must be at least one",
                    mask_ratio, encoder.num_patches(), num_visible(), num_masked()));
  }
  return found;
}

std::vector<std::int64_t> shuffle_by_noise(std::span<const float> noise) {
  // The noise is uniform, so its value says about where its place is: values are dealt to as many
  // buckets as there are places, and insertion sorts what is left.
  const std::int64_t size = std::ssize(noise);
  const auto noise_of = [&](std::int64_t i) { return noise[static_cast<std::size_t>(i)]; };
  const auto bucket_of = [&](std::int64_t i) {
    const auto place = static_cast<std::int64_t>(noise_of(i) * static_cast<float>(size));
    return static_cast<std::size_t>(std::clamp<std::int64_t>(place, 0, size - 1));
  };
  std::vector<std::int64_t> next_place(noise.size() + 1);  // of a bucket
  for (std::int64_t i = 0; i < size; ++i) ++next_place[bucket_of(i) + 1];
  std::partial_sum(next_place.begin(), next_place.end(), next_place.begin());
  std::vector<std::int64_t> order(noise.size());
  for (std::int64_t i = 0; i < size; ++i) {
    order[static_cast<std::size_t>(next_place[bucket_of(i)]++)] = i;
  }
  for (auto sorted = order.begin(); sorted != order.end(); ++sorted) {
    auto place = sorted;
    const std::int64_t i = *sorted;
    for (; place != order.begin() && noise_of(place[-1]) > noise_of(i); --place) *place = place[-1];
    *place = i;
  }
  return order;
}

MaskedAutoencoder::MaskedAutoencoder(const MaeShape& choice, const at::TensorOptions& options)
    : Vit(choice.encoder, options), mae(choice) {
  const std::int64_t E = mae.decoder_dim;
  const double eps = shape.layer_norm_eps;
  decoder_embed = register_module("decoder_embed", std::make_shared<Linear>(shape.dim, E, options));
  mask_token = register_parameter("mask_token", at::empty({1, 1, E}, options));
  decoder_pos_embed = register_buffer("decoder_pos_embed", fixed_positions(E, shape, options));
  const BlockOptions block{
      .dim = E, .heads = mae.decoder_heads, .mlp_dim = mae.decoder_mlp_dim, .layer_norm_eps = eps};
  decoder_blocks = make_blocks(*this, "decoder_blocks", block, mae.decoder_depth, 0.0, options);
  decoder_norm = register_module("decoder_norm", std::make_shared<LayerNorm>(E, eps, options));
  decoder_pred =
      register_module("decoder_pred", std::make_shared<Linear>(E, shape.patch_values(), options));
}

at::Tensor MaskedAutoencoder::embed_decoder(const at::Tensor& latent,
                                            const at::Tensor& ids_shuffle) const {
  const at::Tensor seen = decoder_embed->forward(latent);  // [B, 1 + V, E]
  const at::Tensor hidden = mask_token.expand({latent.size(0), mae.num_masked(), mae.decoder_dim});
  const at::Tensor positions = gather_positions(decoder_pos_embed, ids_shuffle);
  return at::cat({seen, hidden}, 1) + positions.to(seen.scalar_type());
}

at::Tensor MaskedAutoencoder::predict(const at::Tensor& tokens) const {
  return decoder_pred->forward(decoder_norm->forward(tokens));
}

at::Tensor MaskedAutoencoder::forward(const at::Tensor& visible, const at::Tensor& ids_shuffle,
                                      DropoutStream& drop) const {
  const std::int64_t V = mae.num_visible();
  const at::Tensor latent = encode(visible, ids_shuffle.narrow(1, 0, V), drop);  // [B, 1 + V, D]
  at::Tensor x = embed_decoder(latent, ids_shuffle);                             // [B, 1 + L, E]
  const auto pick_masked = [&](const at::Tensor& all) {
    return all.narrow(1, 1 + V, mae.num_masked());
  };
  if (decoder_blocks.empty()) return predict(pick_masked(x));
  for (std::size_t i = 0; i + 1 < decoder_blocks.size(); ++i) {
    x = decoder_blocks[i]->forward(x, {}, drop);
  }
  return predict(decoder_blocks.back()->forward_rows(x, {}, drop, pick_masked));  // [B, M, P]
}

at::Tensor mae_target(const at::Tensor& patches, bool is_normalised) {
  const at::Tensor pixels = at_least_fp32(patches);
  if (!is_normalised) return pixels;
  const auto [variance, mean] = at::var_mean(pixels, at::IntArrayRef{-1}, /*correction=*/1, true);
  return (pixels - mean) * (variance + 1e-6).rsqrt();
}

at::Tensor mae_loss(const at::Tensor& prediction, const at::Tensor& target, double num_masked) {
  const double values = static_cast<double>(target.size(-1));
  return at::mse_loss(at_least_fp32(prediction), target, at::Reduction::Sum) /
         (values * num_masked);
}

MaeObjective::MaeObjective(const MaeShape& shape, PixelNormalisation pixels,
                           const at::TensorOptions& options)
    : network_(std::make_shared<MaskedAutoencoder>(shape, options)), pixels_(std::move(pixels)) {}

void MaeObjective::initialise(std::uint64_t seed) {
  auto list = parameters(0);
  initialise_vit(list, seed);
}

std::vector<Parameter> MaeObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  std::vector<Parameter> list = vit_parameters(*network_);
  append_parameters(list, "decoder_embed", *network_->decoder_embed);
  append_parameter(list, "mask_token", network_->mask_token);
  for (std::size_t i = 0; i < network_->decoder_blocks.size(); ++i) {
    append_parameters(list, fmt::format("decoder_blocks.{}", i), *network_->decoder_blocks[i]);
  }
  append_parameters(list, "decoder_norm", *network_->decoder_norm);
  append_parameters(list, "decoder_pred", *network_->decoder_pred);
  return list;
}

std::vector<Buffer> MaeObjective::buffers() {
  return {{"pos_embed", network_->pos_embed}, {"decoder_pos_embed", network_->decoder_pos_embed}};
}

void MaeObjective::prepare(Batch& batch, std::uint64_t seed) const {
  const std::int64_t L = network_->shape.num_patches();
  const at::Tensor ids = at::empty({batch.num_samples, L}, at::kLong);
  std::vector<float> noise(static_cast<std::size_t>(L));
  for (std::int64_t b = 0; b < batch.num_samples; ++b) {
    fill_uniform(Philox(seed, Purpose::kMask, batch.first_position + b), noise.data(), L);
    std::ranges::copy(shuffle_by_noise(noise), ids.data_ptr<std::int64_t>() + b * L);
  }
  batch.tensors["ids_shuffle"] = ids;
  batch.denominators["masked"] =
      static_cast<double>(batch.num_samples * network_->mae.num_masked());
}

at::Tensor MaeObjective::to_weights_type(const at::Tensor& pixels) const {
  return pixels.to(network_->cls_token.scalar_type());
}

std::optional<Loss> MaeObjective::loss(const Batch& batch, const StepContext& context,
                                       std::size_t) {
  DropoutStream drop =
      context.is_training ? DropoutStream(context.seed, batch.first_position) : DropoutStream();
  const at::Tensor& ids = batch.at("ids_shuffle");
  const MaeInput in =
      mae_input(batch.at("image"), ids, network_->mae, pixels_, network_->cls_token.scalar_type());
  const at::Tensor prediction = network_->forward(in.visible, ids, drop);
  return Loss{mae_loss(prediction, in.target, batch.denominators.at("masked")), {}};
}

// Random numbers are drawn by position on the host, if any are; more channels than the kernel takes
// are normalised by constants that lie there.
bool MaeObjective::is_recordable(std::size_t) const {
  const VitShape& encoder = network_->shape;
  return encoder.drop_path == 0.0 && encoder.channels <= MaskedPatches<float>::kMostChannels;
}

at::Tensor MaeObjective::features(const Batch& batch, const std::string& pooling) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  const at::Tensor patches = pixels_.normalise(patchify(batch.at("image"), network_->shape.patch));
  const at::Tensor x = network_->encode(to_weights_type(patches), {}, none);  // [B, 1 + L, D]
  if (pooling == "cls") return x.select(1, 0).to(at::kFloat);
  return x.narrow(1, 1, x.size(1) - 1).mean(1, false, at::kFloat);
}

MaeObjective::Pictures MaeObjective::reconstruct(const Batch& batch) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  const MaeShape& shape = network_->mae;
  const at::Tensor& ids = batch.at("ids_shuffle");
  const at::Tensor shuffled = shuffled_patches(batch.at("image"), ids, shape, pixels_);
  const at::Tensor visible = shuffled.narrow(1, 0, shape.num_visible());
  const at::Tensor masked = shuffled.narrow(1, shape.num_visible(), shape.num_masked());
  at::Tensor filled = at_least_fp32(network_->forward(to_weights_type(visible), ids, none));
  if (shape.has_normalised_targets) {
    // The network predicts a patch up to its mean and deviation; those are taken from the original.
    const auto [variance, mean] = at::var_mean(masked, at::IntArrayRef{-1}, 1, true);
    filled = filled * (variance + 1e-6).sqrt() + mean;
  }
  const at::Tensor back = ids.argsort(std::int64_t{1});
  const auto picture = [&](const at::Tensor& hidden) {
    const at::Tensor all = gather_rows(at::cat({visible, hidden}, 1), back);
    const at::Tensor image = unpatchify(pixels_.to_uint8(all), shape.encoder.patch,
                                        shape.encoder.height, shape.encoder.width);
    return image.cpu();
  };
  const at::Tensor grey = pixels_.normalise(at::full_like(masked, 127, at::kByte));
  return {picture(masked), picture(grey), picture(filled)};
}

}  // namespace kiln
