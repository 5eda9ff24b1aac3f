#include "models/diffusion/objective.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/torch.h"
#include "models/layers/gaussian.h"
#include "models/layers/parameters.h"
#include "models/layers/workload.h"
#include "models/operators/precision.h"

namespace kiln {
namespace {

// Columns of "level".
enum Column : std::int64_t {
  kSignal,
  kNoise,
  kInputScale,
  kTargetData,
  kTargetNoise,
  kWeight,
  kNetworkTime,
  kX0FromX,
  kX0FromF,
  kNumColumns,
};

/// Column of "level" in the type of `like`, [B, 1, 1, 1].
at::Tensor column(const Batch& batch, Column index, const at::Tensor& like) {
  return batch.at("level").select(1, index).to(like.options()).view({-1, 1, 1, 1});
}

at::Tensor normal_noise(const std::vector<std::int64_t>& sample_shape, const Batch& batch,
                        std::uint64_t seed, Purpose purpose) {
  std::vector<std::int64_t> shape = {batch.num_samples};
  shape.insert(shape.end(), sample_shape.begin(), sample_shape.end());
  const at::Tensor noise = at::empty(shape, at::kFloat);
  const std::int64_t values = noise.numel() / batch.num_samples;
  for (std::int64_t b = 0; b < batch.num_samples; ++b) {
    fill_normal(Philox(seed, purpose, batch.first_position + b),
                noise.data_ptr<float>() + b * values, values);
  }
  return noise;
}

void write_level(const Formulation& formulation, double time, double* row) {
  const NoiseLevel level = formulation.level(time);
  const Target target = formulation.target(level);
  const Inversion back = invert(level, target);
  row[kSignal] = level.signal;
  row[kNoise] = level.noise;
  row[kInputScale] = formulation.input_scale(level);
  row[kTargetData] = target.data;
  row[kTargetNoise] = target.noise;
  row[kWeight] = formulation.weight(level);
  row[kNetworkTime] = formulation.network_time(time);
  row[kX0FromX] = back.x0_from_x;
  row[kX0FromF] = back.x0_from_f;
}

}  // namespace

LatentDiffusion::LatentDiffusion(std::shared_ptr<DiffusionNetwork> network,
                                 LatentDiffusionOptions options,
                                 const FormulationOptions& formulation, const DatasetInfo& data)
    : network_(std::move(network)),
      options_(std::move(options)),
      formulation_(make_formulation(formulation)),
      is_latent_(data.kind == "latent"),
      sample_shape_(
          {data.channels, data.height + 2 * options_.pad, data.width + 2 * options_.pad}) {
  if (formulation.learn_variance) bound_.emplace(*formulation_->chain());
}

std::vector<Parameter> LatentDiffusion::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  return network_->trainable();
}

std::vector<Buffer> LatentDiffusion::buffers() {
  std::vector<Buffer> list;
  for (const auto& item : network_->named_buffers()) list.push_back({item.key(), item.value()});
  return list;
}

void LatentDiffusion::prepare(Batch& batch, std::uint64_t seed) const {
  const std::int64_t B = batch.num_samples;
  batch.denominators["samples"] = static_cast<double>(B);
  batch.tensors["noise"] = normal_noise(sample_shape_, batch, seed, Purpose::kNoise);
  if (is_latent_) {
    batch.tensors["posterior_noise"] = normal_noise(sample_shape_, batch, seed, Purpose::kLatent);
  }
  const at::Tensor level = at::empty({B, kNumColumns}, at::kDouble);
  const at::Tensor timestep = at::zeros({B}, at::kLong);
  std::vector<std::int64_t> dropped;
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t position = batch.first_position + b;
    const double time = formulation_->draw_time(Philox(seed, Purpose::kTimestep, position));
    write_level(*formulation_, time, level.data_ptr<double>() + b * kNumColumns);
    if (formulation_->chain())
      timestep.data_ptr<std::int64_t>()[b] = static_cast<std::int64_t>(time);
    const float u = Philox(seed, Purpose::kLabelDrop, position).uniform(0);
    if (u < static_cast<float>(options_.label_dropout)) dropped.push_back(b);
  }
  batch.tensors["level"] = level;
  batch.tensors["timestep"] = timestep;
  if (options_.conditioning == "class") {
    const at::Tensor labels = batch.at("label").to(at::kLong).clone();
    for (const std::int64_t b : dropped) labels[b].fill_(options_.num_classes);
    batch.tensors["label"] = labels;
  } else if (options_.conditioning == "text") {
    const at::Tensor context = batch.at("context").clone();
    for (const std::int64_t b : dropped) context[b].zero_();
    batch.tensors["context"] = context;
  }
}

at::Tensor LatentDiffusion::clean(const Batch& batch) const {
  if (is_latent_) {
    const auto posterior = DiagonalGaussian::from_moments(batch.at("moments"));
    return posterior.sample(batch.at("posterior_noise")) * options_.latent_scale;
  }
  const at::Tensor pixels = batch.at("image").to(at::kFloat).div_(127.5).sub_(1.0);
  const std::int64_t pad = options_.pad;
  return at::constant_pad_nd(pixels.permute({0, 3, 1, 2}), {pad, pad, pad, pad}, -1.0);
}

LatentDiffusion::Output LatentDiffusion::evaluate(const at::Tensor& x,
                                                  const at::Tensor& input_scale,
                                                  const at::Tensor& times,
                                                  const Conditioning& conditioning,
                                                  DropoutStream& drop) const {
  const auto type = network_->parameters().front().scalar_type();
  const at::Tensor input = (x * input_scale).to(type).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor out = at_least_fp32(network_->forward(input, times, conditioning, drop));
  if (!bound_) return {out, {}};
  const auto halves = out.chunk(2, 1);
  return {halves[0], halves[1]};
}

NoiseLevel LatentDiffusion::level_of(const Batch& batch, std::int64_t b) const {
  const at::Tensor row = batch.at("level")[b];
  return {row[kSignal].item<double>(), row[kNoise].item<double>()};
}

LatentDiffusion::Pass LatentDiffusion::run(const Batch& batch, DropoutStream& drop) const {
  Pass pass;
  pass.x0 = clean(batch);
  const at::Tensor& n = batch.at("noise");
  const at::Tensor& x0 = pass.x0;
  pass.x = column(batch, kSignal, x0) * x0 + column(batch, kNoise, x0) * n;
  Conditioning conditioning;
  if (options_.conditioning == "class") conditioning.labels = batch.at("label");
  if (options_.conditioning == "text") conditioning.context = batch.at("context");
  pass.out = evaluate(pass.x, column(batch, kInputScale, x0),
                      batch.at("level").select(1, kNetworkTime), conditioning, drop);
  const at::Tensor target =
      column(batch, kTargetData, x0) * x0 + column(batch, kTargetNoise, x0) * n;
  pass.error = (pass.out.f - target).square().flatten(1).mean(1);
  return pass;
}

at::Tensor LatentDiffusion::errors(const Batch& batch) const {
  DropoutStream none;
  return run(batch, none).error;
}

std::optional<Loss> LatentDiffusion::loss(const Batch& batch, const StepContext& context,
                                          std::size_t) {
  DropoutStream drop =
      context.is_training ? DropoutStream(context.seed, batch.first_position) : DropoutStream();
  const Pass pass = run(batch, drop);
  at::Tensor per_sample = pass.error * column(batch, kWeight, pass.x0).view({-1});
  Loss result;
  const auto weight = static_cast<double>(batch.num_samples);
  result.metrics["mse"] = {pass.error.detach().sum(), weight};
  if (bound_) {
    const at::Tensor x0_model = column(batch, kX0FromX, pass.x0) * pass.x +
                                column(batch, kX0FromF, pass.x0) * pass.out.f.detach();
    const at::Tensor bits =
        (*bound_)({pass.x0, pass.x, x0_model, pass.out.v, batch.at("timestep")});
    per_sample = per_sample + bits * formulation_->options().vlb_weight;
    result.metrics["vlb_bits"] = {bits.detach().sum(), weight};
  }
  result.value = per_sample.sum() / batch.denominators.at("samples");
  return result;
}

void LatentDiffusion::check(const Batch& sample, const std::string& path) const {
  if (options_.conditioning == "class" && !sample.tensors.contains("label")) {
    throw usage_error(
        "model.conditioning = \"class\", but the samples of '{}' come without labels; leave "
        "model.num_classes out, or import images from a folder for each class",
        path);
  }
  if (options_.conditioning != "text") return;
  const auto found = sample.tensors.find("context");
  if (found == sample.tensors.end()) {
    throw usage_error(
        "model.conditioning = \"text\", but the samples of '{}' come without field 'context'; "
        "encode the images again with `kiln encode ... --context EMBEDDINGS`",
        path);
  }
  const std::int64_t width = found->second.size(2), expected = options_.context_dim;
  if (width != expected) {
    throw usage_error("the embeddings of '{}' have width {}, the model takes {}: model.context_dim",
                      path, width, expected);
  }
}

Workload::Work LatentDiffusion::work(const Batch& like) {
  WorkList list(parameters(0));
  const bool has_texts = options_.conditioning == "text" && like.tensors.contains("context");
  network_->add_work(list, {.samples = like.num_samples,
                            .height = sample_shape_[1],
                            .width = sample_shape_[2],
                            .context_tokens = has_texts ? like.at("context").size(1) : 0});
  return std::move(list).work();
}

// Dropout is drawn by position; the bound looks its coefficients up on the host.
bool LatentDiffusion::is_recordable(std::size_t) const {
  return options_.dropout == 0.0 && !bound_;
}

namespace {

std::shared_ptr<DiffusionNetwork> make_network(const LatentDiffusionOptions& options,
                                               const FormulationOptions& formulation,
                                               const DatasetInfo& data, at::ScalarType type,
                                               std::vector<std::string>& problems) {
  const at::TensorOptions tensor_options(type);
  if (options.is_dit()) {
    const DitShape shape = options.dit_shape(data, formulation.learn_variance);
    problems = shape.problems();
    return problems.empty() ? std::make_shared<Dit>(shape, tensor_options) : nullptr;
  }
  const UNetShape shape = options.unet_shape(data, formulation.learn_variance);
  problems = shape.problems();
  const std::int64_t f = std::int64_t{1} << (shape.num_levels() - 1);
  const std::int64_t height = data.height + 2 * options.pad, width = data.width + 2 * options.pad;
  if (height % f != 0 || width % f != 0) {
    problems.push_back(fmt::format("a U-Net of {} resolutions cannot halve {} x {} {} times",
                                   shape.num_levels(), height, width, shape.num_levels() - 1));
  }
  return problems.empty() ? std::make_shared<UNet>(shape, tensor_options) : nullptr;
}

}  // namespace

std::unique_ptr<Objective> make_latent_diffusion(RecipeReader& reader, const Recipe& recipe,
                                                 const DatasetInfo& data) {
  LatentDiffusionOptions options;
  FormulationOptions formulation;
  reader.read("model", options);
  reader.read("model", formulation);
  std::vector<std::string> problems = options.resolve(data);
  try {
    make_formulation(formulation);
  } catch (const Error& error) {
    problems.push_back(error.what());
  }
  std::shared_ptr<DiffusionNetwork> network;
  if (problems.empty()) {
    reader.update("model", options);
    const auto type = weights_type(recipe);
    network = make_network(options, formulation, data, type, problems);
  }
  for (const std::string& problem : problems) reader.problem(problem);
  if (!network) return nullptr;
  network->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return std::make_unique<LatentDiffusion>(network, options, formulation, data);
}

}  // namespace kiln
