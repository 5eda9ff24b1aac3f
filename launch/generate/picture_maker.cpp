#include "launch/generate/picture_maker.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/base/error.h"
#include "core/base/work.h"
#include "core/report/picture.h"
#include "core/report/progress_bar.h"
#include "core/torch.h"
#include "models/autoencoder/objective.h"
#include "models/diffusion/objective.h"

namespace kiln {

PictureMaker::PictureMaker(LatentDiffusion& model, const std::string& name,
                           const PictureOptions& options, at::Device device)
    : model_(model), options_(options), device_(device) {
  const std::int64_t label = options_.label;
  options_.generate = checked(options_.generate, model_,
                              label < 0 ? std::vector<std::int64_t>{} : std::vector{label});
  open_texts(name);
  if (model_.is_latent()) load_autoencoder(name);
}

void PictureMaker::open_texts(const std::string& name) {
  const std::string& path = options_.context;
  if (model_.options().conditioning != "text") {
    if (path.empty()) return;
    throw usage_error("--context '{}': '{}' has model.conditioning = \"{}\" and follows no texts",
                      path, name, model_.options().conditioning);
  }
  if (path.empty()) {
    throw usage_error(
        "'{}' draws by texts: give --context, a dataset of their embeddings (`kiln encode BERT "
        "--data TEXT --out EMBEDDINGS`)",
        name);
  }
  texts_.emplace(path);
  check_conditions(model_, texts_->source(), path);
}

void PictureMaker::load_autoencoder(const std::string& name) {
  const std::string path =
      options_.autoencoder.empty() ? model_.options().autoencoder : options_.autoencoder;
  if (path.empty()) {
    throw usage_error(
        "the samples of '{}' are latents: give --autoencoder, or model.autoencoder in the recipe, "
        "to decode them",
        name);
  }
  loaded_autoencoder_ = load_model(path);
  autoencoder_ = dynamic_cast<AutoencoderObjective*>(loaded_autoencoder_.objective.get());
  if (autoencoder_ == nullptr) throw usage_error("'{}' is no autoencoder", path);
  const std::string& expected = model_.options().autoencoder_hash;
  const std::string found = hash_of_weights(*autoencoder_);
  if (!expected.empty() && found != expected) {
    throw usage_error(
        "the autoencoder '{}' (hash {}) did not make the latents that '{}' was trained on (hash "
        "{})",
        path, found, name, expected);
  }
  const std::int64_t channels = autoencoder_->network().shape.latent_channels;
  if (channels != model_.sample_shape()[0]) {
    throw usage_error("'{}' draws latents of {} channels, the autoencoder '{}' has {}", name,
                      model_.sample_shape()[0], path, channels);
  }
  autoencoder_->module().to(device_);
}

bool PictureMaker::has_labels() const { return model_.options().conditioning == "class"; }
std::int64_t PictureMaker::num_classes() const { return model_.options().num_classes; }

std::vector<std::int64_t> PictureMaker::shape_of(std::int64_t num) const {
  const auto sample = model_.sample_shape();
  if (autoencoder_ == nullptr) {
    const std::int64_t pad = 2 * model_.options().pad;
    return {num, sample[1] - pad, sample[2] - pad, sample[0]};
  }
  const AutoencoderShape& shape = autoencoder_->network().shape;
  const std::int64_t f = shape.reduction(), pad = 2 * autoencoder_->options().pad;
  return {num, sample[1] * f - pad, sample[2] * f - pad, shape.image_channels};
}

std::vector<std::int64_t> PictureMaker::labels_from(std::int64_t first) const {
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; has_labels() && i < options_.batch; ++i) {
    labels.push_back(options_.label >= 0 ? options_.label : (first + i) % num_classes());
  }
  return labels;
}

at::Tensor PictureMaker::decoded(const at::Tensor& x) const {
  if (autoencoder_ != nullptr) {
    Autoencoder& network = autoencoder_->network();
    const auto type = network.quant_conv->weight.scalar_type();
    at::Tensor latent = x.to(device_, type).contiguous(at::MemoryFormat::ChannelsLast);
    if (network.quantize) latent = quantise(latent, network.quantize->embedding).z_q.to(type);
    return autoencoder_->to_pictures(network.decode(latent));
  }
  const std::int64_t pad = model_.options().pad;
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
  if (texts_) conditioning.context = texts_->rows(first, options_.batch).to(device_);
  made.pictures = decoded(generate(model_, options_.generate, first, options_.batch, conditioning));
  return made;
}

LatentDiffusion& diffusion_model(Objective& objective, const std::string& name) {
  auto* model = dynamic_cast<LatentDiffusion*>(&objective);
  if (model == nullptr) throw usage_error("'{}' is no diffusion model", name);
  return *model;
}

at::Tensor make_pictures(PictureMaker& maker, std::int64_t num, Communicator& communicator,
                         bool has_bar) {
  const std::int64_t batch = maker.batch();
  const Range mine = share_of((num + batch - 1) / batch, communicator.rank(), communicator.size());
  at::Tensor all = at::zeros(maker.shape_of(num), at::kFloat);
  std::optional<ProgressBar> bar;
  if (has_bar) bar.emplace("sample", "pictures", mine.size() * batch);
  for (std::int64_t b = mine.begin; b < mine.end; ++b) {
    const std::int64_t first = b * batch;
    const std::int64_t count = std::min(batch, num - first);
    all.narrow(0, first, count).copy_(maker.make(first).pictures.narrow(0, 0, count));
    if (bar) bar->update((b - mine.begin + 1) * batch);
  }
  // Every picture is some rank's and zero on the others: the sum is exact.
  communicator.all_reduce(all).wait();
  return all.to(at::kByte);
}

at::Tensor square_grid(const at::Tensor& pictures) {
  GridOptions options;
  options.columns =
      static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(pictures.size(0)))));
  options.scale = std::max<std::int64_t>(1, 64 / pictures.size(1));  // small ones stay visible
  return picture_grid(pictures, options);
}

}  // namespace kiln
