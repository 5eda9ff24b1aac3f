#include "models/diffusion/generate.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/torch.h"
#include "models/diffusion/objective.h"

namespace kiln {
namespace {

// Draw d of sample n has a stream of its own, at this position: samples number below 2^40.
std::int64_t position_of(std::int64_t sample, std::int64_t draw) { return sample + (draw << 40); }

at::Tensor noise_of(const LatentDiffusion& model, std::uint64_t seed, std::int64_t first,
                    std::int64_t count, std::int64_t draw) {
  std::vector<std::int64_t> shape = {count};
  const auto sample = model.sample_shape();
  shape.insert(shape.end(), sample.begin(), sample.end());
  const at::Tensor noise = at::empty(shape, at::kFloat);
  const std::int64_t values = noise.numel() / count;
  for (std::int64_t i = 0; i < count; ++i) {
    fill_normal(Philox(seed, Purpose::kSampling, position_of(first + i, draw)),
                noise.data_ptr<float>() + i * values, values);
  }
  return noise;
}

/// The condition stacked on "nothing".
Conditioning with_nothing(const Conditioning& given, std::int64_t null_label) {
  Conditioning both;
  if (given.labels.defined()) {
    both.labels = at::cat({given.labels, at::full_like(given.labels, null_label)});
  }
  if (given.context.defined()) {
    both.context = at::cat({given.context, at::zeros_like(given.context)});
  }
  return both;
}

at::Tensor guided(const at::Tensor& f, double guidance, std::int64_t channels) {
  const auto halves = f.chunk(2, 0);  // conditional, unconditional
  const at::Tensor mixed = halves[1] + (halves[0] - halves[1]) * guidance;
  if (channels == 0 || channels >= f.size(1)) return mixed;
  return at::cat(
      {mixed.narrow(1, 0, channels), halves[0].narrow(1, channels, f.size(1) - channels)}, 1);
}

}  // namespace

GenerateOptions checked(GenerateOptions options, const LatentDiffusion& model) {
  options.sampler = checked(options.sampler, model.formulation());
  const LatentDiffusionOptions& trained = model.options();
  if (options.guidance != 1.0 && (trained.conditioning == "none" || trained.label_dropout == 0.0)) {
    throw usage_error(
        "guidance {} needs a conditional model that was also trained without its condition; this "
        "one has model.conditioning = \"{}\" and model.label_dropout = {}",
        options.guidance, trained.conditioning, trained.label_dropout);
  }
  return options;
}

Denoise denoiser(LatentDiffusion& model, const GenerateOptions& options,
                 const Conditioning& conditioning) {
  const bool is_guided = options.guidance != 1.0;
  const Conditioning given =
      is_guided ? with_nothing(conditioning, model.options().num_classes) : conditioning;
  return [&model, options, given, is_guided](const at::Tensor& x, const Node& node) {
    DropoutStream none;
    const Formulation& formulation = model.formulation();
    const at::Tensor input = is_guided ? at::cat({x, x}) : x;
    const at::Tensor scale =
        at::full({1, 1, 1, 1}, formulation.input_scale(node.level), x.options());
    const at::Tensor times = at::full({input.size(0)}, formulation.network_time(node.time),
                                      x.options().dtype(at::kDouble));
    LatentDiffusion::Output out = model.evaluate(input, scale, times, given, none);
    if (is_guided) {
      out.f = guided(out.f, options.guidance, options.guided_channels);
      if (out.v.defined()) out.v = out.v.chunk(2, 0)[0];
    }
    const at::Tensor f = out.f.to(x.scalar_type());
    const Inversion back = invert(node.level, formulation.target(node.level));
    Estimate estimate{
        x * back.x0_from_x + f * back.x0_from_f, x * back.n_from_x + f * back.n_from_f, {}};
    if (out.v.defined()) estimate.variance_fraction = (out.v.to(x.scalar_type()) + 1.0) * 0.5;
    return estimate;
  };
}

at::Tensor generate(LatentDiffusion& model, const GenerateOptions& options, std::int64_t first,
                    std::int64_t count, const Conditioning& conditioning, const OnStep& on_step) {
  const at::NoGradGuard no_grad;
  const auto device = model.network().parameters().front().device();
  // The state is kept in double: rounding would otherwise add up over hundreds of steps.
  const NoiseSource noise = [&](std::int64_t draw) {
    return noise_of(model, options.seed, first, count, draw).to(device, at::kDouble);
  };
  const at::Tensor x0 = sample(options.sampler, model.formulation(),
                               denoiser(model, options, conditioning), noise, on_step);
  const double scale = model.options().latent_scale;  // 0 where a folder from elsewhere has none
  return (model.is_latent() && scale > 0.0 ? x0 / scale : x0).to(at::kFloat);
}

}  // namespace kiln
