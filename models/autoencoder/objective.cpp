#include "models/autoencoder/objective.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/base/philox.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "models/layers/parameters.h"
#include "models/operators/precision.h"

namespace kiln {
namespace {

constexpr const char* kDiscriminator = "discriminator";
constexpr std::int64_t kStepsBetweenWarnings = 500;
constexpr double kCollapsedShare = 0.02;  // of the codes
// Hinge loss asks for logits beyond 1: a discriminator whose logits run away has won for good.
constexpr double kRunawayLogit = 20.0;
constexpr const char* kLogitSum = "adversary.logit";  // sum over samples of D(x^), and their number

std::unique_ptr<PerceptualDistance> make_perceptual(const std::string& name,
                                                    const at::TensorOptions& options) {
  if (name == "none") return nullptr;
  if (name == "gradients") return gradient_pyramid();
  return load_lpips(name, options.dtype(at::kFloat));
}

std::pair<at::Tensor, double> share(const at::Tensor& mean, std::int64_t num_samples) {
  const auto weight = static_cast<double>(num_samples);
  return {mean.detach() * weight, weight};
}

}  // namespace

/// One forward pass.
struct AutoencoderObjective::Pass {
  at::Tensor z;     // [B, E, h, w] before quantisation, or the posterior's sample
  at::Tensor made;  // [B, C, H, W] at least fp32
  at::Tensor regularisation;
  std::optional<Quantised> quantised;
};

AutoencoderObjective::AutoencoderObjective(const AutoencoderShape& shape,
                                           const AutoencoderOptions& options,
                                           const at::TensorOptions& tensor_options)
    : options_(options),
      network_(
          std::make_shared<Autoencoder>(shape, tensor_options, options.codebook == "gradient")),
      perceptual_(make_perceptual(options.perceptual, tensor_options)) {
  if (shape.bottleneck == Bottleneck::kVq) {
    const CodebookOptions codebook{shape.num_codes, shape.latent_channels,
                                   options.codebook == "ema", options.codebook_decay,
                                   options.restart_below};
    statistics_ = std::make_shared<CodebookStatistics>(codebook, tensor_options);
  }
  if (options.discriminator) {
    discriminator_ = network_->register_module(
        kDiscriminator,
        std::make_shared<PatchDiscriminator>(shape.image_channels, options.discriminator_channels,
                                             options.discriminator_layers, tensor_options));
  }
}

void AutoencoderObjective::initialise(std::uint64_t seed) {
  initialise_autoencoder(*network_, seed);
  if (statistics_) statistics_->start_from(network_->quantize->embedding.detach());
  if (discriminator_) {
    initialise_discriminator(*discriminator_, seed, network_->named_parameters().size());
  }
}

std::vector<Phase> AutoencoderObjective::phases() const {
  if (!discriminator_) return Objective::phases();
  return {Phase{.name = "generator"}, Phase{.name = kDiscriminator}};
}

std::vector<Parameter> AutoencoderObjective::parameters(std::size_t phase) {
  if (phase == 0) return autoencoder_parameters(*network_);
  std::vector<Parameter> list;
  append_parameters(list, kDiscriminator, *discriminator_);
  return list;
}

std::vector<Buffer> AutoencoderObjective::buffers() {
  std::vector<Buffer> list;
  for (const auto& item : network_->named_buffers()) list.push_back({item.key(), item.value()});
  if (!statistics_) return list;
  // No part of the network, as other implementations have none; but they go where it goes.
  statistics_->to(network_->quantize->embedding.device());
  for (const auto& item : statistics_->named_buffers()) {
    list.push_back({"statistics." + item.key(), item.value()});
  }
  return list;
}

at::Tensor AutoencoderObjective::to_input(const at::Tensor& images) const {
  at::Tensor x = images;
  if (images.scalar_type() == at::kByte) x = images.to(at::kFloat).div_(127.5).sub_(1.0);
  x = x.permute({0, 3, 1, 2});  // [B, C, H, W], channels-last as it comes
  const std::int64_t pad = options_.pad;
  if (pad > 0) x = at::constant_pad_nd(x, {pad, pad, pad, pad}, -1.0);
  return x;
}

at::Tensor AutoencoderObjective::to_pictures(const at::Tensor& images) const {
  const std::int64_t pad = options_.pad;
  const at::Tensor inner = images.slice(2, pad, images.size(2) - pad)
                               .slice(3, pad, images.size(3) - pad)
                               .permute({0, 2, 3, 1})
                               .to(at::kFloat);
  return inner.add(1.0).mul_(127.5).round_().clamp_(0, 255).to(at::kByte).contiguous().cpu();
}

void AutoencoderObjective::prepare(Batch& batch, std::uint64_t seed) const {
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
  const AutoencoderShape& shape = network_->shape;
  if (shape.bottleneck != Bottleneck::kKl) return;
  const at::Tensor& image = batch.at("image");
  const std::int64_t h = (image.size(1) + 2 * options_.pad) / shape.reduction();
  const std::int64_t w = (image.size(2) + 2 * options_.pad) / shape.reduction();
  const at::Tensor noise = at::empty({batch.num_samples, shape.latent_channels, h, w}, at::kFloat);
  const std::int64_t values = noise.numel() / batch.num_samples;
  for (std::int64_t b = 0; b < batch.num_samples; ++b) {
    fill_normal(Philox(seed, Purpose::kLatent, batch.first_position + b),
                noise.data_ptr<float>() + b * values, values);
  }
  batch.tensors["posterior_noise"] = noise;
}

AutoencoderObjective::Pass AutoencoderObjective::run(const at::Tensor& x,
                                                     const Batch& batch) const {
  const auto type = network_->quant_conv->weight.scalar_type();
  const at::Tensor encoded = network_->encode(x.to(type));
  Pass pass;
  if (network_->shape.bottleneck == Bottleneck::kKl) {
    const auto posterior = DiagonalGaussian::from_moments(encoded);
    pass.z = posterior.sample(batch.at("posterior_noise"));
    pass.regularisation = posterior.kl().mean();
    pass.made = at_least_fp32(network_->decode(pass.z.to(type)));
  } else {
    pass.z = encoded;
    pass.quantised = quantise(encoded, network_->quantize->embedding);
    // Averaged codes move by themselves: only the commitment has a gradient.
    pass.regularisation =
        options_.codebook == "ema"
            ? pass.quantised->commit_loss * options_.beta
            : quantisation_loss(*pass.quantised, options_.beta, options_.legacy_beta);
    pass.made = at_least_fp32(network_->decode(pass.quantised->z_q.to(type)));
  }
  return pass;
}

// Mean over samples; per sample summed (kKl) or averaged (kVq) over values.
at::Tensor AutoencoderObjective::nll(const at::Tensor& x, const at::Tensor& made) const {
  const at::Tensor difference = x - made;
  at::Tensor per_value =
      options_.pixel_loss == "l1" ? difference.abs().mean() : difference.square().mean();
  if (perceptual_)
    per_value = per_value + (*perceptual_)(x, made).mean() * options_.perceptual_weight;
  if (network_->shape.bottleneck == Bottleneck::kVq) return per_value;
  return per_value * static_cast<double>(x.numel() / x.size(0));
}

bool AutoencoderObjective::is_adversarial(const StepContext& context) const {
  return discriminator_ && context.is_training && context.step >= options_.discriminator_start;
}

std::optional<Loss> AutoencoderObjective::loss(const Batch& batch, const StepContext& context,
                                               std::size_t phase) {
  if (phase == 0) return generator_loss(batch, context);
  if (!is_adversarial(context)) return std::nullopt;
  return discriminator_loss(batch);
}

Loss AutoencoderObjective::generator_loss(const Batch& batch, const StepContext& context) {
  const at::Tensor x = to_input(batch.at("image"));
  const Pass pass = run(x, batch);
  const bool is_kl = network_->shape.bottleneck == Bottleneck::kKl;
  const at::Tensor fit = nll(x, pass.made);
  at::Tensor total =
      fit + pass.regularisation * (is_kl ? options_.kl_weight : options_.codebook_weight);
  sums_.clear();
  Loss result;
  const auto log = [&](const char* name, const at::Tensor& mean) {
    result.metrics[name] = share(mean, batch.num_samples);
  };
  log("reconstruction", (x - pass.made).abs().mean());
  log(is_kl ? "kl" : "codebook", pass.regularisation);
  if (discriminator_) {  // every step has metrics of the same names
    result.metrics["adversarial"] = result.metrics["adaptive_weight"] = {at::zeros({}), 0.0};
  }
  if (is_adversarial(context)) {
    const auto type = network_->quant_conv->weight.scalar_type();
    const at::Tensor g = -at_least_fp32(discriminator_->forward(pass.made.to(type))).mean();
    const at::Tensor lambda = adaptive_weight(fit, g, network_->decoder->conv_out->weight);
    total = total + lambda * options_.discriminator_weight * g;
    log("adversarial", g);
    log("adaptive_weight", lambda);
    const double n = static_cast<double>(batch.num_samples);
    sums_[kLogitSum] =
        at::stack({g.detach().to(at::kFloat) * -n, at::full({}, n, g.options().dtype(at::kFloat))});
  }
  if (pass.quantised && context.is_training) {
    sums_.merge(statistics_->contributions(pass.z, pass.quantised->indices, batch.micro_batch,
                                           context.global_batch / batch.num_samples));
    log("codebook_perplexity", statistics_->perplexity());
  }
  result.value =
      total * (static_cast<double>(batch.num_samples) / batch.denominators.at("samples"));
  return result;
}

Loss AutoencoderObjective::discriminator_loss(const Batch& batch) {
  const at::Tensor x = to_input(batch.at("image"));
  const auto type = network_->quant_conv->weight.scalar_type();
  at::Tensor made;
  {
    const at::NoGradGuard no_grad;
    made = run(x, batch).made.to(type);
  }
  // Real and made apart: each is normalised by its own statistics.
  const at::Tensor real_logits = at_least_fp32(discriminator_->forward(x.to(type)));
  const at::Tensor made_logits = at_least_fp32(discriminator_->forward(made));
  const at::Tensor hinge = hinge_loss(real_logits, made_logits);
  Loss result;
  result.value =
      hinge * (static_cast<double>(batch.num_samples) / batch.denominators.at("samples"));
  result.metrics["discriminator"] = share(hinge, batch.num_samples);
  result.metrics["logits_real"] = share(real_logits.mean(), batch.num_samples);
  result.metrics["logits_made"] = share(made_logits.mean(), batch.num_samples);
  return result;
}

Sums AutoencoderObjective::sums(std::size_t phase) { return phase == 0 ? sums_ : Sums{}; }

void AutoencoderObjective::after_step(const StepContext& context, const Sums& sums, const Rows&) {
  const bool is_time_to_warn = context.step % kStepsBetweenWarnings == kStepsBetweenWarnings - 1;
  if (const auto found = sums.find(kLogitSum); is_time_to_warn && found != sums.end()) {
    const double logit = found->second[0].item<double>() / found->second[1].item<double>();
    if (const std::string warning = adversary_warning(logit); !warning.empty()) {
      log_warning("{}", warning);
    }
  }
  if (!statistics_) return;
  statistics_->update(sums, context.step, network_->quantize->embedding);
  if (!is_time_to_warn) return;
  const std::string warning =
      codebook_warning(statistics_->perplexity().item<double>(), network_->shape.num_codes);
  if (!warning.empty()) log_warning("{}", warning);
}

std::string codebook_warning(double perplexity, std::int64_t num_codes) {
  if (perplexity >= kCollapsedShare * static_cast<double>(num_codes)) return "";
  return fmt::format(
      "codebook collapse: {:.1f} of {} codes in real use (perplexity). Try model.codebook = "
      "\"ema\" "
      "with model.restart_below = 0.1, or fewer codes",
      perplexity, num_codes);
}

std::string adversary_warning(double mean_logit) {
  if (std::abs(mean_logit) <= kRunawayLogit) return "";
  return fmt::format(
      "the adversary diverges: the discriminator's logits of reconstructions average {:.1f}, where "
      "hinge loss asks for -1. Try a smaller model.discriminator_weight, a later "
      "model.discriminator_start, or a smaller optimizer.lr",
      mean_logit);
}

AutoencoderObjective::Pictures AutoencoderObjective::reconstruct(const Batch& batch) {
  const at::NoGradGuard no_grad;
  return {to_pictures(to_input(batch.at("image"))), {}, reconstruct_with_codes(batch).pictures};
}

AutoencoderObjective::Reconstructed AutoencoderObjective::reconstruct_with_codes(
    const Batch& batch) {
  const at::NoGradGuard no_grad;
  const auto type = network_->quant_conv->weight.scalar_type();
  const at::Tensor encoded = network_->encode(to_input(batch.at("image")).to(type));
  if (network_->shape.bottleneck == Bottleneck::kKl) {
    const at::Tensor latent = DiagonalGaussian::from_moments(encoded).mean;
    return {to_pictures(network_->decode(latent.to(type))), {}};
  }
  const Quantised quantised = quantise(encoded, network_->quantize->embedding);
  return {to_pictures(network_->decode(quantised.z_q.to(type))), quantised.indices};
}

std::unique_ptr<Objective> make_autoencoder(RecipeReader& reader, const Recipe& recipe,
                                            const DatasetInfo& data) {
  AutoencoderOptions options;
  reader.read("model", options);
  if (!options.resolve()) {
    reader.problem(unknown_name("model.preset", options.preset, AutoencoderOptions::presets()));
    return nullptr;
  }
  reader.update("model", options);
  const AutoencoderShape shape = options.shape(data.channels);
  std::vector<std::string> problems = shape.problems();
  const std::int64_t f = shape.reduction();
  const std::int64_t height = data.height + 2 * options.pad, width = data.width + 2 * options.pad;
  if (height % f != 0 || width % f != 0) {
    problems.push_back(fmt::format(
        "images of {} x {} pixels cannot be reduced {} times: set data.size to a multiple of {}, "
        "or model.pad (black pixels on each side, now {})",
        height, width, f, f, options.pad));
  }
  const auto one_of = [&](const char* key, const std::string& value,
                          const std::vector<std::string>& known) {
    if (std::ranges::find(known, value) == known.end()) {
      problems.push_back(unknown_name(fmt::format("model.{}", key), value, known));
    }
  };
  one_of("pixel_loss", options.pixel_loss, {"l1", "l2"});
  one_of("codebook", options.codebook, {"gradient", "ema"});
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  const auto type = weights_type(recipe);
  auto objective = std::make_unique<AutoencoderObjective>(shape, options, at::TensorOptions(type));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

}  // namespace kiln
