#include "launch/evaluate/picture_features.h"

#include <torch/script.h>

#include <algorithm>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/torch.h"
#include "launch/trained/trained_model.h"
#include "models/capabilities.h"

namespace kiln {
namespace {

class PixelFeatures final : public PictureFeatures {
 public:
  at::Tensor operator()(const at::Tensor& pictures) const override {
    constexpr std::int64_t kMostValues = 1024;
    at::Tensor x = pictures.permute({0, 3, 1, 2}).to(at::kFloat) / 255.0;
    while (x.numel() / x.size(0) > kMostValues) x = at::avg_pool2d(x, {2, 2});
    return x.flatten(1).cpu();
  }
  std::string id() const override { return "pixels"; }
  std::int64_t num_components() const override { return 32; }
};

class EncoderFeatures final : public PictureFeatures {
 public:
  EncoderFeatures(const std::string& name, const std::vector<std::int64_t>& picture,
                  at::Device device)
      : model_(TrainedModel::open({.path = name, .reads_data = false})),
        extractor_(model_.as<FeatureExtractor>("is no encoder: it gives no features")),
        device_(device) {
    const DatasetInfo& takes = model_.data.info;
    if (picture != std::vector{takes.height, takes.width, takes.channels}) {
      throw usage_error(
          "'{}' takes pictures of {} x {} pixels and {} channels; these have {} x {}, {}", name,
          takes.height, takes.width, takes.channels, picture[0], picture[1], picture[2]);
    }
    model_.objective->module().to(device_);
    hash_ = hash_of_weights(*model_.objective);
  }
  at::Tensor operator()(const at::Tensor& pictures) const override {
    Batch batch;
    batch.num_samples = pictures.size(0);
    batch.tensors["image"] = pictures.to(device_);
    return extractor_.features(batch, extractor_.poolings().front()).cpu();
  }
  std::string id() const override { return "encoder " + hash_; }

 private:
  TrainedModel model_;
  FeatureExtractor& extractor_;  // within model_
  at::Device device_;
  std::string hash_;
};

class ScriptFeatures final : public PictureFeatures {
 public:
  ScriptFeatures(const std::string& file, at::Device device) : device_(device) {
    try {
      script_ = torch::jit::load(file, device);
    } catch (const std::exception& error) {
      throw usage_error("'{}' is no TorchScript file: {}", file,
                        std::string(error.what()).substr(0, 200));
    }
    script_.eval();
    for (const auto& argument : script_.get_method("forward").function().getSchema().arguments()) {
      if (argument.name() == "return_features") words_["return_features"] = true;
    }
    hash_ = hash_file(file, ExitCode::kUsage).xxh3;
  }
  at::Tensor operator()(const at::Tensor& pictures) const override {
    const at::NoGradGuard no_grad;
    at::Tensor x = pictures.permute({0, 3, 1, 2}).to(device_).contiguous();
    if (x.size(1) == 1) x = x.expand({-1, 3, -1, -1}).contiguous();
    auto script = script_;  // a handle: forward() is no const member
    const at::Tensor made = script.forward({x}, words_).toTensor();
    return made.flatten(1).to(at::kCPU, at::kFloat);
  }
  std::string id() const override { return "script " + hash_; }

 private:
  torch::jit::Module script_;
  torch::jit::Kwargs words_;
  at::Device device_;
  std::string hash_;
};

}  // namespace

std::unique_ptr<PictureFeatures> open_picture_features(const std::string& name,
                                                       const std::vector<std::int64_t>& picture,
                                                       at::Device device) {
  if (name == "pixels") return std::make_unique<PixelFeatures>();
  const std::filesystem::path path = name;
  if (path.extension() == ".pt" && std::filesystem::is_regular_file(path)) {
    return std::make_unique<ScriptFeatures>(name, device);
  }
  if (!std::filesystem::is_directory(path)) {
    throw usage_error(
        "--features {}: expected pixels, the folder of an encoder, or a TorchScript file (.pt)",
        name);
  }
  return std::make_unique<EncoderFeatures>(name, picture, device);
}

}  // namespace kiln
