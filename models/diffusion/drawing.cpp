#include <algorithm>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/torch.h"
#include "models/diffusion/latent_statistics.h"
#include "models/diffusion/objective.h"

// A LatentDiffusion as PictureGenerator, and the pictures it is held against.

namespace kiln {
namespace {

constexpr std::int64_t kMostLatents = 20'000;  // that a normal distribution is fitted to

}  // namespace

LatentDiffusion::Requirements LatentDiffusion::requirements() const {
  Requirements needed;
  if (options_.conditioning == "class") needed.num_classes = options_.num_classes;
  if (options_.conditioning == "text") needed.text_width = options_.context_dim;
  needed.has_latents = is_latent_;
  needed.codec = drawing_.autoencoder.empty() ? options_.autoencoder : drawing_.autoencoder;
  needed.codec_hash = options_.autoencoder_hash;
  return needed;
}

void LatentDiffusion::configure_drawing(RecipeReader& reader, std::uint64_t seed) {
  drawing_ = {};
  reader.read("draw", drawing_);
  drawing_.seed = seed;
  reader.finish();
  drawing_ = checked(drawing_, *this);
}

nlohmann::json LatentDiffusion::chosen_drawing() const {
  return {{"sampler", drawing_.sampler.sampler}, {"steps", drawing_.sampler.steps}};
}

std::vector<std::int64_t> LatentDiffusion::drawn_shape() const {
  if (codec_ != nullptr) return codec_->picture_shape(sample_shape_);
  const std::int64_t pad = 2 * options_.pad;
  return {sample_shape_[1] - pad, sample_shape_[2] - pad, sample_shape_[0]};
}

at::Tensor LatentDiffusion::decoded(const at::Tensor& x) const {
  if (is_latent_) {
    KILN_CHECK(codec_ != nullptr, "latents are decoded without an autoencoder");
    return codec_->decode_latents(x);
  }
  const std::int64_t pad = options_.pad;
  const at::Tensor inner =
      x.slice(2, pad, x.size(2) - pad).slice(3, pad, x.size(3) - pad).permute({0, 2, 3, 1});
  return inner.add(1.0).mul_(127.5).round_().clamp_(0, 255).to(at::kByte).contiguous().cpu();
}

at::Tensor LatentDiffusion::draw(std::int64_t first, std::int64_t count,
                                 const Conditions& conditions) {
  const at::NoGradGuard no_grad;
  Conditioning conditioning;
  if (!conditions.classes.empty()) {
    conditioning.labels = at::tensor(conditions.classes, at::kLong).to(device());
  }
  if (conditions.texts.defined()) conditioning.context = conditions.texts.to(device());
  return decoded(generate(*this, drawing_, first, count, conditioning));
}

std::vector<std::string> LatentDiffusion::controls() const {
  if (!is_latent_) return {};
  return {"noise_latents", "normal_latents"};
}

void LatentDiffusion::fit_controls(const SampleReader& data, std::uint64_t seed) {
  check_size_of_covariance(*this);
  const FeatureStatistics statistics =
      latent_statistics(*this, data, std::min(kMostLatents, data.num_samples), seed);
  control_mean_ = statistics.mean();
  const auto [variances, directions] = at::linalg_eigh(statistics.covariance());
  control_root_ = (directions * variances.clamp_min(0.0).sqrt()).mm(directions.t());
}

at::Tensor LatentDiffusion::draw_control(const std::string& name, std::int64_t first,
                                         std::int64_t count, std::uint64_t seed) {
  constexpr std::int64_t kDraw = std::int64_t{1} << 61;  // apart from all that samplers draw
  const at::NoGradGuard no_grad;
  const at::Tensor noise = at::empty({count, num_values()}, at::kFloat);
  for (std::int64_t i = 0; i < count; ++i) {
    fill_normal(Philox(seed, Purpose::kSampling, kDraw + first + i),
                noise.data_ptr<float>() + i * num_values(), num_values());
  }
  at::Tensor rows = noise.to(at::kDouble);
  if (name == "normal_latents") rows = rows.mm(control_root_) + control_mean_;
  const at::Tensor x = rows.view({-1, sample_shape_[0], sample_shape_[1], sample_shape_[2]});
  return decoded((x / options_.latent_scale).to(at::kFloat));
}

}  // namespace kiln
