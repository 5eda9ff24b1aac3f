#include "launch/picture_maker.h"

#include <torch/torch.h>

#include "core/error.h"
#include "models/autoencoder/objective.h"

namespace kiln {
namespace {

template <typename Model>
Model* as(Objective& objective) {
  return dynamic_cast<Model*>(&objective);
}

}  // namespace

PictureMaker::PictureMaker(const SampleWords& words, at::Device device)
    : loaded_(load_model(words.of, words.overrides)),
      batch_(words.batch),
      label_(words.label),
      device_(device) {
  model_ = as<LatentDiffusion>(*loaded_.objective);
  if (model_ == nullptr) throw usage_error("'{}' is no diffusion model", words.of);
  options_ = checked(words.generate, *model_,
                     label_ < 0 ? std::vector<std::int64_t>{} : std::vector<std::int64_t>{label_});
  if (model_->options().conditioning == "text") {
    throw usage_error("'{}' is conditioned on text embeddings: `kiln sample` has none to give it",
                      words.of);
  }
  if (model_->is_latent()) {
    const std::string path =
        words.autoencoder.empty() ? model_->options().autoencoder : words.autoencoder;
    if (path.empty()) {
      throw usage_error(
          "the samples of '{}' are latents: give --autoencoder, or model.autoencoder "
          "in the recipe, to decode them",
          words.of);
    }
    loaded_autoencoder_ = load_model(path);
    autoencoder_ = as<AutoencoderObjective>(*loaded_autoencoder_.objective);
    if (autoencoder_ == nullptr) throw usage_error("'{}' is no autoencoder", path);
    const std::string& expected = model_->options().autoencoder_hash;
    const std::string found = hash_of_weights(*autoencoder_);
    if (!expected.empty() && found != expected) {
      throw usage_error(
          "'{}' (hash {}) did not make the latents that '{}' was trained on (hash {})", path, found,
          words.of, expected);
    }
    autoencoder_->module().to(device_);
  }
  model_->module().to(device_);
}

PictureMaker::~PictureMaker() = default;

bool PictureMaker::has_labels() const { return model_->options().conditioning == "class"; }
std::int64_t PictureMaker::num_classes() const { return model_->options().num_classes; }

std::vector<std::int64_t> PictureMaker::shape_of(std::int64_t num) const {
  const auto sample = model_->sample_shape();
  if (autoencoder_ == nullptr) {
    const std::int64_t pad = 2 * model_->options().pad;
    return {num, sample[1] - pad, sample[2] - pad, sample[0]};
  }
  const AutoencoderShape& shape = autoencoder_->network().shape;
  const std::int64_t f = shape.reduction(), pad = 2 * autoencoder_->options().pad;
  return {num, sample[1] * f - pad, sample[2] * f - pad, shape.image_channels};
}

std::vector<std::int64_t> PictureMaker::labels_from(std::int64_t first) const {
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; has_labels() && i < batch_; ++i) {
    labels.push_back(label_ >= 0 ? label_ : (first + i) % num_classes());
  }
  return labels;
}

at::Tensor PictureMaker::decoded(const at::Tensor& x) const {
  if (autoencoder_ != nullptr) {
    Autoencoder& network = autoencoder_->network();
    const auto type = network.quant_conv->weight.scalar_type();
    at::Tensor latent = x.to(type).contiguous(at::MemoryFormat::ChannelsLast);
    if (network.quantize) latent = quantise(latent, network.quantize->embedding).z_q.to(type);
    return autoencoder_->to_pictures(network.decode(latent));
  }
  const std::int64_t pad = model_->options().pad;
  const at::Tensor inner =
      x.slice(2, pad, x.size(2) - pad).slice(3, pad, x.size(3) - pad).permute({0, 2, 3, 1});
  return inner.add(1.0).mul_(127.5).round_().clamp_(0, 255).to(at::kByte).contiguous().cpu();
}

PictureMaker::Made PictureMaker::make(std::int64_t first) {
  const at::NoGradGuard no_grad;
  Made made;
  made.labels = labels_from(first);
  Conditioning conditioning;
  if (!made.labels.empty()) conditioning.labels = at::tensor(made.labels, at::kLong).to(device_);
  made.pictures = decoded(generate(*model_, options_, first, batch_, conditioning));
  return made;
}

}  // namespace kiln
