#include <algorithm>

#include "core/torch.h"
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

/// First the mean picture, then everything that is held against the pictures.
class GivenBack final : public Measurement {
 public:
  GivenBack(AutoencoderObjective& model, const MeasurementSetup& setup)
      : model_(model), setup_(setup) {
    const at::Tensor image = setup.data.read(0, 1).at("image");
    picture_ = image[0].sizes().vec();
    const std::string& name = model_.options().perceptual;
    perceptual_ = name == "none" || name == "gradients"
                      ? gradient_pyramid()
                      : load_lpips(name, at::TensorOptions(at::kFloat).device(setup.device));
  }

  int num_passes() const override { return 2; }
  std::int64_t num_sums(int pass) const override {
    return pass == 0 ? c10::multiply_integers(picture_) : kNumColumns + num_codes();
  }

  at::Tensor sums(int pass, Batch batch, std::int64_t count) override {
    if (pass == 0) {
      return batch.at("image").narrow(0, 0, count).to(at::kDouble).sum(0).view({-1});
    }
    for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(setup_.device);
    return compare(batch, count);
  }

  void finish_pass(int pass, const at::Tensor& total) override {
    if (pass == 1) total_ = total;
    if (pass == 1) return;
    const at::Tensor mean = total / (255.0 * static_cast<double>(setup_.count));
    mean_ = mean.view(picture_).permute({2, 0, 1}).unsqueeze(0);
  }

  Figures figures() const override {
    const auto figure = [&](Column column) {
      return total_[column].item<double>() / static_cast<double>(setup_.count);
    };
    Figures figures = {{"psnr", figure(kPsnr)},
                       {"ssim", figure(kSsim)},
                       {"mse", figure(kMse)},
                       {"l1", figure(kL1)},
                       {"l1_mean_picture", figure(kL1Mean)},
                       {"perceptual", figure(kPerceptual)}};
    if (!model_.network().quantize) return figures;
    const at::Tensor codes = total_.slice(0, kNumColumns);
    const at::Tensor share = codes / codes.sum();
    figures["codebook_perplexity"] = (-at::special_xlogy(share, share).sum()).exp().item<double>();
    return figures;
  }

 private:
  std::int64_t num_codes() const {
    return std::max<std::int64_t>(model_.network().shape.num_codes, 1);
  }

  at::Tensor compare(const Batch& batch, std::int64_t count) const {
    const at::NoGradGuard no_grad;
    const AutoencoderObjective::Reconstructed made = model_.reconstruct_with_codes(batch);
    const auto first = [&](const at::Tensor& x) { return x.narrow(0, 0, count); };
    const at::Tensor x = unit_range(first(batch.at("image").cpu()));
    const at::Tensor y = unit_range(first(made.pictures));
    const at::Tensor difference = x - y;
    const auto of_picture = [](const at::Tensor& t) { return t.flatten(1).mean(1).sum(); };
    const auto signed_range = [&](const at::Tensor& t) {
      return (t * 2.0 - 1.0).to(setup_.device, at::kFloat);
    };
    at::Tensor sums = at::zeros({kNumColumns + num_codes()}, at::kDouble);
    sums[kPsnr] = psnr(x, y).sum();
    sums[kSsim] = ssim(x, y).sum();
    sums[kMse] = of_picture(difference.square());
    sums[kL1] = of_picture(difference.abs());
    sums[kL1Mean] = of_picture((x - mean_).abs());
    sums[kPerceptual] = (*perceptual_)(signed_range(x), signed_range(y)).sum().cpu();
    if (!made.indices.defined()) return sums;
    const at::Tensor used = first(made.indices.cpu()).flatten();
    sums.slice(0, kNumColumns).copy_(at::bincount(used, {}, num_codes()));
    return sums;
  }

  AutoencoderObjective& model_;
  MeasurementSetup setup_;
  std::vector<std::int64_t> picture_;  // H, W, C
  std::unique_ptr<PerceptualDistance> perceptual_;
  at::Tensor mean_;   // [1, C, H, W]
  at::Tensor total_;  // [kNumColumns + K], the last K: how often each code was used
};

}  // namespace

std::unique_ptr<Measurement> AutoencoderObjective::measurement(const std::string& evaluation,
                                                               const MeasurementSetup& setup) {
  if (evaluation != "reconstruct") return nullptr;
  return std::make_unique<GivenBack>(*this, setup);
}

}  // namespace kiln
