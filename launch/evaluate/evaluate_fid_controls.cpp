#include "launch/evaluate/evaluate_fid_controls.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/torch.h"
#include "data/loader.h"
#include "launch/evaluate/latent_statistics.h"
#include "models/diffusion/objective.h"
#include "models/measures/frechet.h"

// D = C H W values of a latent.

namespace kiln {
namespace {

constexpr std::int64_t kMostLatents = 20'000;
constexpr std::int64_t kMostValues = 4096;

}  // namespace

FidControls::FidControls(const PictureMaker& maker, const BatchSource& latents, std::uint64_t seed,
                         std::uint64_t training_seed)
    : maker_(maker), seed_(seed) {
  LatentDiffusion& model = maker.model();
  const auto shape = model.sample_shape();
  const std::int64_t values = shape[0] * shape[1] * shape[2];
  if (values > kMostValues) {
    throw usage_error("--controls: a covariance of {} values is too large (at most {})", values,
                      kMostValues);
  }
  const DatasetReader reader({std::shared_ptr<const void>(), &latents}, 1);
  const FeatureStatistics statistics =
      latent_statistics(model, reader, std::min(kMostLatents, reader.num_samples()), training_seed);
  mean_ = statistics.mean();
  const auto [variances, directions] = at::linalg_eigh(statistics.covariance());
  root_ = (directions * variances.clamp_min(0.0).sqrt()).mm(directions.t());
}

at::Tensor FidControls::noise(std::int64_t first) const {
  constexpr std::int64_t kDraw = std::int64_t{1} << 61;  // apart from all that samplers draw
  const at::Tensor rows = at::empty({maker_.batch(), mean_.size(0)}, at::kFloat);
  for (std::int64_t i = 0; i < rows.size(0); ++i) {
    fill_normal(Philox(seed_, Purpose::kSampling, kDraw + first + i),
                rows.data_ptr<float>() + i * rows.size(1), rows.size(1));
  }
  return rows.to(at::kDouble);
}

PictureMaker::Made FidControls::decoded(const at::Tensor& rows) const {
  const at::NoGradGuard no_grad;
  const LatentDiffusion& model = maker_.model();
  const auto shape = model.sample_shape();
  const at::Tensor x = rows.view({-1, shape[0], shape[1], shape[2]}) / model.options().latent_scale;
  return {maker_.decoded(x.to(at::kFloat)), {}};
}

PictureMaker::Made FidControls::from_noise(std::int64_t first) const {
  return decoded(noise(first));
}

PictureMaker::Made FidControls::from_normal(std::int64_t first) const {
  return decoded(noise(first).mm(root_) + mean_);
}

}  // namespace kiln
