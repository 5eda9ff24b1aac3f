#include "models/autoencoder/perceptual.h"

#include <fmt/format.h>

#include <array>

#include "core/base/error.h"
#include "core/checkpoint/safetensors.h"

namespace kiln {
namespace {

// Numbers of the convolutions in VGG-16's list of layers, by slice; a slice begins with a pooling,
// but for the first.
const std::array<std::vector<int>, 5> kConvolutions = {
    {{0, 2}, {5, 7}, {10, 12, 14}, {17, 19, 21}, {24, 26, 28}}};

class Lpips final : public PerceptualDistance {
 public:
  Lpips(const std::filesystem::path& file, const at::TensorOptions& options) {
    const SafetensorsFile source(file);
    std::vector<std::string> missing;
    const auto read = [&](const std::string& name) {
      if (source.contains(name)) return source.read(name).to(options);
      missing.push_back(name);
      return at::Tensor();
    };
    for (std::size_t slice = 0; slice < kConvolutions.size(); ++slice) {
      for (const int number : kConvolutions[slice]) {
        const std::string name = fmt::format("net.slice{}.{}", slice + 1, number);
        convolutions_[slice].emplace_back(read(name + ".weight"), read(name + ".bias"));
      }
      channel_weights_[slice] = read(fmt::format("lin{}.model.1.weight", slice));
    }
    if (!missing.empty()) {
      throw checkpoint_error("{} is not a file of LPIPS weights for VGG-16; missing: {}",
                             file.string(), join_names(missing));
    }
    shift_ = at::tensor({-0.030, -0.088, -0.188}, options).view({1, 3, 1, 1});
    scale_ = at::tensor({0.458, 0.448, 0.450}, options).view({1, 3, 1, 1});
  }

  at::Tensor operator()(const at::Tensor& a, const at::Tensor& b) const override {
    at::Tensor x = prepared(a), y = prepared(b);
    at::Tensor sum;
    for (std::size_t slice = 0; slice < kConvolutions.size(); ++slice) {
      x = features(x, slice);
      y = features(y, slice);
      const at::Tensor difference = (unit_length(x) - unit_length(y)).square();
      const at::Tensor term = at::conv2d(difference, channel_weights_[slice]).mean({1, 2, 3});
      sum = slice == 0 ? term : sum + term;
    }
    return sum;
  }

 private:
  at::Tensor prepared(const at::Tensor& image) const {
    const at::Tensor x = image.to(shift_.options());
    return ((x.size(1) == 1 ? x.expand({-1, 3, -1, -1}) : x) - shift_) / scale_;
  }
  at::Tensor features(at::Tensor x, std::size_t slice) const {
    if (slice > 0) x = at::max_pool2d(x, {2, 2}, {2, 2});
    for (const auto& [weight, bias] : convolutions_[slice]) {
      x = at::relu(at::conv2d(x, weight, bias, at::IntArrayRef{1, 1}, at::IntArrayRef{1, 1}));
    }
    return x;
  }
  static at::Tensor unit_length(const at::Tensor& x) {
    // Clamped inside the root: its gradient is not finite at zero.
    return x / (x.square().sum(1, true).clamp_min(1e-20).sqrt() + 1e-10);
  }

  std::array<std::vector<std::pair<at::Tensor, at::Tensor>>, 5> convolutions_;
  std::array<at::Tensor, 5> channel_weights_;
  at::Tensor shift_, scale_;
};

class GradientPyramid final : public PerceptualDistance {
 public:
  at::Tensor operator()(const at::Tensor& a, const at::Tensor& b) const override {
    at::Tensor difference = a - b;  // both operations are linear: the pyramid of the difference
    at::Tensor sum = at::zeros({a.size(0)}, difference.options());
    double weight = 1.0;
    for (int level = 0; level < 3 && difference.size(2) > 1 && difference.size(3) > 1; ++level) {
      const at::Tensor across = difference.diff(1, 3), down = difference.diff(1, 2);
      sum = sum + (across.abs().mean({1, 2, 3}) + down.abs().mean({1, 2, 3})) * weight;
      difference = at::avg_pool2d(difference, {2, 2});
      weight *= 2.0;
    }
    return sum;
  }
};

}  // namespace

std::unique_ptr<PerceptualDistance> load_lpips(const std::filesystem::path& file,
                                               const at::TensorOptions& options) {
  return std::make_unique<Lpips>(file, options);
}

std::unique_ptr<PerceptualDistance> gradient_pyramid() {
  return std::make_unique<GradientPyramid>();
}

}  // namespace kiln
