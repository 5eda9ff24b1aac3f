#include "models/layers/image_input.h"

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {

at::Tensor patchify(const at::Tensor& images, std::int64_t p) {
  const std::int64_t B = images.size(0), H = images.size(1), W = images.size(2), C = images.size(3);
  KILN_CHECK(H % p == 0 && W % p == 0, "image {} x {} in patches of {}", H, W, p);
  return images.reshape({B, H / p, p, W / p, p, C})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({B, (H / p) * (W / p), p * p * C});
}

at::Tensor unpatchify(const at::Tensor& patches, std::int64_t p, std::int64_t height,
                      std::int64_t width) {
  const std::int64_t B = patches.size(0), C = patches.size(2) / (p * p);
  return patches.reshape({B, height / p, width / p, p, p, C})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({B, height, width, C});
}

PixelNormalisation::PixelNormalisation(std::vector<double> mean, std::vector<double> std)
    : mean_(std::move(mean)), std_(std::move(std)) {
  KILN_CHECK(mean_.size() == std_.size(), "{} means, {} deviations", mean_.size(), std_.size());
  if (mean_.empty()) {
    mean_ = {0.0};
    std_ = {1.0};
  }
  for (std::size_t c = 0; c < mean_.size(); ++c) {
    scale_.push_back(1.0 / (255.0 * std_[c]));
    shift_.push_back(-mean_[c] / std_[c]);
  }
}

at::Tensor PixelNormalisation::cycle(const std::vector<double>& per_channel,
                                     const at::Tensor& like) const {
  const auto repeats = like.size(-1) / static_cast<std::int64_t>(per_channel.size());
  return at::tensor(per_channel, at::kFloat).repeat({repeats}).to(like.device());
}

at::Tensor PixelNormalisation::normalise(const at::Tensor& pixels) const {
  if (pixels.scalar_type() != at::kByte) return pixels;
  return pixels.to(at::kFloat).mul_(cycle(scale_, pixels)).add_(cycle(shift_, pixels));
}

at::Tensor PixelNormalisation::to_uint8(const at::Tensor& normalised) const {
  const at::Tensor unit =
      normalised.to(at::kFloat) * cycle(std_, normalised) + cycle(mean_, normalised);
  return unit.mul_(255.0).round_().clamp_(0, 255).to(at::kByte);
}

}  // namespace kiln
