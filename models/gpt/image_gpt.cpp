#include "models/gpt/image_gpt.h"

#include <fmt/format.h>

#include <numbers>

#include "core/base/error.h"
#include "models/operators/fused.h"
#include "models/operators/precision.h"

namespace kiln {

std::vector<std::string> ImageGptShape::problems() const {
  std::vector<std::string> found = gpt.problems();
  if (gpt.num_outputs < 2 || gpt.num_outputs > 256) {
    found.push_back(fmt::format("model.levels = {}; from 2 to 256", gpt.num_outputs));
  }
  if (!(mask_share > 0.0 && mask_share <= 1.0)) {
    found.push_back(fmt::format("model.mask_share = {}; above 0 and at most 1", mask_share));
  }
  return found;
}

at::Tensor grey_tokens(const at::Tensor& pictures, std::int64_t levels) {
  return pictures.flatten(1).to(at::kLong).mul(levels).div(256, "floor");
}

at::Tensor grey_pictures(const at::Tensor& tokens, std::int64_t levels, std::int64_t height,
                         std::int64_t width) {
  const at::Tensor values = tokens.mul(256).add(128).div(levels, "floor");
  return values.to(at::kByte).view({tokens.size(0), height, width, 1});
}

ImageGptObjective::ImageGptObjective(const ImageGptShape& shape, const at::TensorOptions& options)
    : shape_(shape), network_(std::make_shared<Gpt>(shape.gpt, options)) {}

void ImageGptObjective::initialise(std::uint64_t seed) {
  auto list = parameters(0);
  initialise_gpt(list, shape_.gpt, seed);
}

std::vector<Parameter> ImageGptObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  return gpt_parameters(*network_);
}

void ImageGptObjective::prepare(Batch& batch, std::uint64_t seed) const {
  const std::int64_t L = num_values();
  if (shape_.task == ImageGptTask::kNext) {
    batch.denominators["tokens"] = static_cast<double>(batch.num_samples * L);
    return;
  }
  const at::Tensor draws = at::empty({batch.num_samples, L}, at::kFloat);
  for (std::int64_t b = 0; b < batch.num_samples; ++b) {
    fill_uniform(Philox(seed, Purpose::kMask, batch.first_position + b),
                 draws.mutable_data_ptr<float>() + b * L, L);
  }
  batch.tensors["masked"] = draws < shape_.mask_share;
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
}

at::Tensor ImageGptObjective::start_of(const at::Tensor& tokens) const {
  return at::full({tokens.size(0), 1}, shape_.gpt.num_outputs, tokens.options());
}

std::optional<Loss> ImageGptObjective::loss(const Batch& batch, const StepContext& context,
                                            std::size_t) {
  DropoutStream drop =
      context.is_training ? DropoutStream(context.seed, batch.first_position) : DropoutStream();
  const at::Tensor tokens = grey_tokens(batch.at("image"), shape_.gpt.num_outputs);  // [B, L]
  const auto scores = [&](const at::Tensor& input, const at::Tensor& masked) {
    const at::Tensor embedded = network_->embed(input, masked, drop);
    return network_->logits(network_->mix(embedded, !masked.defined(), drop));  // [B, L, O]
  };
  Loss loss;
  if (shape_.task == ImageGptTask::kNext) {
    const at::Tensor logits = scores(shifted(start_of(tokens), tokens), {});
    const CrossEntropy all = fused_cross_entropy(logits.flatten(0, 1), tokens.flatten());
    loss.value = all.sum / batch.denominators.at("tokens");
    const auto count = static_cast<double>(tokens.numel());
    loss.metrics["nats_per_token"] = {all.sum.detach(), count};
    loss.metrics["token_accuracy"] = {all.hits, count};
    return loss;
  }
  const at::Tensor& masked = batch.at("masked");
  const at::Tensor losses = token_losses(scores(tokens, masked), tokens) * masked;
  const at::Tensor of_samples = losses.sum(1) / masked.sum(1).clamp_min(1);
  loss.value = of_samples.sum() / batch.denominators.at("samples");
  return loss;
}

at::Tensor ImageGptObjective::features(const Batch& batch, const std::string&) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  const at::Tensor tokens = grey_tokens(batch.at("image"), shape_.gpt.num_outputs);
  const bool is_causal = shape_.task == ImageGptTask::kNext;
  const at::Tensor input = is_causal ? shifted(start_of(tokens), tokens) : tokens;
  return network_->middle(network_->embed(input, {}, none), is_causal).mean(1, false, at::kFloat);
}

Likelihood::Bits ImageGptObjective::bits(Batch batch, std::uint64_t) {
  if (shape_.task != ImageGptTask::kNext) return {};
  const at::NoGradGuard no_grad;
  DropoutStream none;
  const auto device = network_->tokens.device();
  const at::Tensor tokens = grey_tokens(batch.at("image").to(device), shape_.gpt.num_outputs);
  const at::Tensor embedded = network_->embed(shifted(start_of(tokens), tokens), {}, none);
  const at::Tensor logits = network_->logits(network_->mix(embedded, /*is_causal=*/true, none));
  const at::Tensor nats = token_losses(logits, tokens).sum(1, false, at::kDouble).cpu();  // [B]
  Bits bits;
  bits.total = nats / std::numbers::ln2;
  bits.others["nats_per_token"] = nats / static_cast<double>(num_values());
  return bits;
}

void ImageGptObjective::configure_drawing(RecipeReader& reader, std::uint64_t seed) {
  if (shape_.task != ImageGptTask::kNext) {
    throw usage_error(
        "a model with model.task = \"masked\" draws no pictures; train one with \"next\"");
  }
  TokenSampling sampling;
  reader.read("draw", sampling);
  for (const std::string& problem : sampling.problems()) reader.problem(problem);
  reader.finish();
  sampling_ = sampling;
  sampling_seed_ = seed;
}

nlohmann::json ImageGptObjective::chosen_drawing() const {
  nlohmann::json chosen = {{"temperature", sampling_.temperature}, {"top_p", sampling_.top_p}};
  if (sampling_.top_k) chosen["top_k"] = *sampling_.top_k;
  return chosen;
}

at::Tensor ImageGptObjective::draw(std::int64_t first, std::int64_t count, const Conditions&) {
  const at::Tensor start = at::full({count, 1}, shape_.gpt.num_outputs, at::kLong);
  const at::Tensor tokens =
      generate_tokens(*network_, start, num_values(), sampling_, sampling_seed_, first);
  return grey_pictures(tokens, shape_.gpt.num_outputs, shape_.height, shape_.width);
}

}  // namespace kiln
