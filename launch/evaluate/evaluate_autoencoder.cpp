#include "launch/evaluate/evaluate_autoencoder.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"
#include "launch/evaluate/features.h"
#include "models/autoencoder/objective.h"
#include "models/measures/image_quality.h"

// B pictures, C channels, H x W pixels, K codes.

namespace kiln {
namespace {

enum Column : std::int64_t { kPsnr, kSsim, kMse, kL1, kL1Mean, kPerceptual, kNumColumns };

/// [B, H, W, C] uint8 -> [B, C, H, W] in [0, 1].
at::Tensor unit_range(const at::Tensor& pictures) {
  return pictures.permute({0, 3, 1, 2}).to(at::kDouble) / 255.0;
}

class AutoencoderMeasurement {
 public:
  explicit AutoencoderMeasurement(const Evaluated& evaluated)
      : evaluated_(evaluated),
        model_(dynamic_cast<AutoencoderObjective&>(evaluated.objective)),
        sums_(at::zeros({kNumColumns}, at::kDouble)),
        codes_(
            at::zeros({std::max<std::int64_t>(model_.network().shape.num_codes, 1)}, at::kDouble)) {
    const std::int64_t all = evaluated.data.source->num_samples();
    const std::int64_t most = evaluated.recipe.eval.max_samples;
    count_ = most > 0 ? std::min(most, all) : all;
    const std::string& name = model_.options().perceptual;
    perceptual_ = name == "none" || name == "gradients"
                      ? gradient_pyramid()
                      : load_lpips(name, at::TensorOptions(at::kFloat).device(evaluated.device));
  }

  Figures run() {
    const at::Tensor mean = mean_picture();
    each([&](Batch& batch, Range range) { add(batch, range.size(), mean); });
    evaluated_.communicator.all_reduce(sums_).wait();
    evaluated_.communicator.all_reduce(codes_).wait();
    const auto figure = [&](Column column) {
      return sums_[column].item<double>() / static_cast<double>(count_);
    };
    Figures figures = {{"psnr", figure(kPsnr)},
                       {"ssim", figure(kSsim)},
                       {"mse", figure(kMse)},
                       {"l1", figure(kL1)},
                       {"l1_mean_picture", figure(kL1Mean)},
                       {"perceptual", figure(kPerceptual)},
                       {"samples", static_cast<double>(count_)}};
    if (model_.network().quantize) {
      const at::Tensor share = codes_ / codes_.sum();
      figures["codebook_perplexity"] =
          (-at::special_xlogy(share, share).sum()).exp().item<double>();
    }
    return figures;
  }

 private:
  void each(const std::function<void(Batch&, Range)>& use) const {
    for_each_share(*evaluated_.data.source, count_, evaluated_.communicator, evaluated_.device,
                   evaluated_.num_threads, use);
  }

  at::Tensor mean_picture() const {
    at::Tensor sum = at::zeros(
        {evaluated_.data.info.height, evaluated_.data.info.width, evaluated_.data.info.channels},
        at::kDouble);
    each([&](Batch& batch, Range range) {
      sum += batch.at("image").narrow(0, 0, range.size()).to(at::kDouble).sum(0).cpu();
    });
    evaluated_.communicator.all_reduce(sum).wait();
    return (sum / (255.0 * static_cast<double>(count_))).permute({2, 0, 1}).unsqueeze(0);
  }

  void add(const Batch& batch, std::int64_t count, const at::Tensor& mean) {
    const at::NoGradGuard no_grad;
    const AutoencoderObjective::Reconstructed made = model_.reconstruct_with_codes(batch);
    const auto first = [&](const at::Tensor& x) { return x.narrow(0, 0, count); };
    const at::Tensor x = unit_range(first(batch.at("image").cpu()));
    const at::Tensor y = unit_range(first(made.pictures));
    const at::Tensor difference = x - y;
    const auto of_picture = [](const at::Tensor& t) { return t.flatten(1).mean(1).sum(); };
    const auto signed_range = [&](const at::Tensor& t) {
      return (t * 2.0 - 1.0).to(evaluated_.device, at::kFloat);
    };
    sums_[kPsnr] += psnr(x, y).sum();
    sums_[kSsim] += ssim(x, y).sum();
    sums_[kMse] += of_picture(difference.square());
    sums_[kL1] += of_picture(difference.abs());
    sums_[kL1Mean] += of_picture((x - mean).abs());
    sums_[kPerceptual] += (*perceptual_)(signed_range(x), signed_range(y)).sum().cpu();
    if (!made.indices.defined()) return;
    const at::Tensor used = first(made.indices.cpu()).flatten();
    codes_ += at::bincount(used, {}, codes_.size(0));
  }

  const Evaluated& evaluated_;
  AutoencoderObjective& model_;
  std::int64_t count_ = 0;
  std::unique_ptr<PerceptualDistance> perceptual_;
  at::Tensor sums_;   // [kNumColumns]
  at::Tensor codes_;  // [K] how often each was used
};

}  // namespace

Figures evaluate_autoencoder(const Evaluated& evaluated) { return AutoencoderMeasurement(evaluated).run(); }

}  // namespace kiln
