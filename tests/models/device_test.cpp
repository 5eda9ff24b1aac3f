// Models on a GPU against the same models on the host: same weights, batch and random numbers.

#include <gtest/gtest.h>

#include "core/optimizer/optimizer.h"
#include "core/torch.h"
#include "core/training/micro_batch_pass.h"
#include "core/training/training_phase.h"
#include "dist/gradient_exchange.h"
#include "dist/local_communicator.h"
#include "models/bert/bert_objective.h"
#include "models/bert/bert_options.h"
#include "models/diffusion/objective.h"
#include "models/dit/dit.h"
#include "models/mae/mae.h"
#include "models/mae/mae_options.h"
#include "models/unet/unet.h"
#include "tests/support/host_recorder.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

struct Trial {
  std::unique_ptr<Objective> objective;
  Batch batch;
};

// Away from the zeros that some weights begin with, so that every gradient is tested.
void stir(Objective& objective) {
  const at::NoGradGuard no_grad;
  std::int64_t number = 100;
  for (Parameter& p : objective.parameters(0)) {
    p.tensor.add_(normal(p.tensor.sizes(), ++number).to(p.tensor.scalar_type()) * 0.02);
  }
}

Trial mae(at::ScalarType type) {
  MaeOptions options;
  options.preset = "tiny";
  options.dim = 48;
  options.heads = 3;
  options.depth = 2;
  options.patch = 4;
  options.resolve();
  DatasetInfo data;
  data.height = data.width = 20;
  data.channels = 3;
  auto objective = std::make_unique<MaeObjective>(
      options.shape(data), PixelNormalisation({0.5, 0.4, 0.3}, {0.2, 0.3, 0.4}),
      at::TensorOptions(type));
  objective->initialise(1);
  Trial trial{std::move(objective), {}};
  trial.batch.num_samples = 5;
  trial.batch.tensors["image"] = (normal({5, 20, 20, 3}, 1) * 50 + 128).clamp(0, 255).to(at::kByte);
  return trial;
}

Trial bert(at::ScalarType type) {
  DatasetInfo data;
  data.kind = "text";
  data.vocab_size = 61;
  data.sequence_length = 17;
  data.facts["mask_token"] = "4";
  data.facts["has_pairs"] = "true";
  BertOptions options;
  options.preset = "tiny";
  options.dim = 48;
  options.heads = 3;
  options.max_positions = 32;
  options.dropout = 0.1;
  options.attention_dropout = 0.0;  // a GPU draws that with a generator of its own
  options.resolve();
  auto objective = std::make_unique<BertObjective>(
      options.shape(data), options.masking_options(data), at::TensorOptions(type));
  objective->initialise(1);
  Trial trial{std::move(objective), {}};
  const std::int64_t B = 5, L = 17;
  trial.batch.num_samples = B;
  const at::Tensor document = at::zeros({B, L}, at::kLong);
  document[1].slice(0, 11).fill_(-1);
  trial.batch.tensors = {{"tokens", (at::arange(B * L, at::kLong) * 7 % 50 + 5).view({B, L})},
                         {"kind", at::ones({B, L}, at::kByte)},
                         {"document", document},
                         {"position", at::arange(L, at::kLong).repeat({B, 1})},
                         {"segment", (at::arange(L, at::kLong) > 8).to(at::kLong).repeat({B, 1})},
                         {"pair_label", at::arange(B, at::kLong) % 2}};
  return trial;
}

Trial diffusion(const char* preset, at::ScalarType type) {
  DatasetInfo data;
  data.kind = "latent";
  data.channels = 4;
  data.height = data.width = 8;
  data.class_names.resize(10);
  LatentDiffusionOptions options;
  options.preset = preset;
  EXPECT_TRUE(options.resolve(data).empty());
  std::shared_ptr<DiffusionNetwork> network;
  if (options.is_dit()) {
    network = std::make_shared<Dit>(options.dit_shape(data, false), at::TensorOptions(type));
  } else {
    network = std::make_shared<UNet>(options.unet_shape(data, false), at::TensorOptions(type));
  }
  network->initialise(1);
  Trial trial{std::make_unique<LatentDiffusion>(network, options, FormulationOptions{}, data), {}};
  trial.batch.num_samples = 5;
  trial.batch.tensors["moments"] = normal({5, 8, 8, 8}, 1).to(at::kHalf);
  trial.batch.tensors["label"] = at::arange(5, at::kLong);
  return trial;
}

struct Result {
  double loss = 0.0;
  std::map<std::string, at::Tensor> gradients;
};

Result run(Trial& trial, at::Device device) {
  trial.objective->module().to(device);
  Batch batch = trial.batch;
  trial.objective->prepare(batch, 9);
  for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(device);
  for (Parameter& p : trial.objective->parameters(0)) p.tensor.mutable_grad() = at::Tensor();
  const Loss loss = *trial.objective->loss(batch, StepContext{.seed = 9}, 0);
  loss.value.backward();
  Result result{loss.value.item<double>(), {}};
  for (const Parameter& p : trial.objective->parameters(0)) {
    if (p.tensor.grad().defined())
      result.gradients[p.name] = p.tensor.grad().to(at::kCPU, at::kDouble);
  }
  return result;
}

#define KILN_NEEDS_GPU()            \
  if (!torch::cuda::is_available()) \
  GTEST_SKIP() << "no GPU: none visible, no driver, or a build without CUDA"

// fp32 on a GPU differs by the order of sums (TF32 is switched off); bf16 keeps 8 binary digits, of
// which a gradient through several layers loses two.
void expect_same(const char* name, Trial trial, double loss_bound, double gradient_bound) {
  SCOPED_TRACE(name);
  at::globalContext().setAllowTF32CuDNN(false);
  stir(*trial.objective);
  const Result host = run(trial, at::kCPU);
  const Result device = run(trial, at::Device(at::kCUDA, 0));
  EXPECT_NEAR(device.loss, host.loss, loss_bound * std::abs(host.loss));
  ASSERT_EQ(device.gradients.size(), host.gradients.size());
  ASSERT_FALSE(host.gradients.empty());
  for (const auto& [parameter, expected] : host.gradients) {
    const double scale = expected.norm().item<double>();
    const double error = (device.gradients.at(parameter) - expected).norm().item<double>();
    EXPECT_LE(error, gradient_bound * scale + 1e-7) << parameter;
  }
}

TEST(Device, ModelsInFp32AreThoseOfTheHost) {
  KILN_NEEDS_GPU();
  expect_same("mae", mae(at::kFloat), 1e-5, 1e-4);
  expect_same("bert", bert(at::kFloat), 1e-5, 1e-4);
  expect_same("dit", diffusion("dit_tiny", at::kFloat), 1e-5, 1e-4);
  expect_same("unet", diffusion("unet_tiny", at::kFloat), 1e-5, 5e-4);
}

TEST(Device, ModelsInBf16AreThoseOfTheHostUpToRounding) {
  KILN_NEEDS_GPU();
  expect_same("mae", mae(at::kBFloat16), 2e-2, 0.1);
  expect_same("bert", bert(at::kBFloat16), 2e-2, 0.1);
  expect_same("dit", diffusion("dit_tiny", at::kBFloat16), 2e-2, 0.1);
  expect_same("unet", diffusion("unet_tiny", at::kBFloat16), 2e-2, 0.15);
}

std::vector<double> losses_of_training(Trial trial, at::Device device, const char* rule) {
  trial.objective->module().to(device);
  trial.objective->prepare(trial.batch, 9);
  Batch batch = trial.batch;
  for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(device);
  FlatParameters flat(trial.objective->parameters(0), 1 << 20, 1);
  OptimizerOptions options;
  options.name = rule;
  const Optimizer optimizer(options);
  std::vector<Slice> slices;
  for (const auto& bucket : flat.buckets()) {
    Slice slice{.range = bucket.range, .segments = flat.segments(bucket.range)};
    slice.weights = slice.master = flat.weights(bucket.range);
    for (std::size_t i = 0; i < optimizer.moment_names().size(); ++i) {
      slice.moments.push_back(at::zeros_like(slice.master));
    }
    slices.push_back(slice);
  }
  std::vector<double> losses;
  for (std::int64_t step = 0; step < 20; ++step) {
    flat.zero_gradients();
    const Loss loss = *trial.objective->loss(batch, StepContext{.step = step, .seed = 9}, 0);
    loss.value.backward();
    losses.push_back(loss.value.item<double>());
    const StepScalars scalars{.lr = 1e-3, .update = step + 1};
    std::vector<double> ratios;
    if (optimizer.has_trust_ratio()) {
      BlockSums norms(flat, 2);
      for (const Slice& slice : slices) {
        optimizer.prepare(slice, flat.gradients(slice.range), flat, scalars, norms);
      }
      ratios = optimizer.trust_ratios(flat, scalars, norms);
    }
    for (const Slice& slice : slices) {
      optimizer.step(slice, flat.gradients(slice.range), flat, scalars, ratios);
    }
  }
  return losses;
}

// Twenty steps with the optimizer of the device: rounding differences grow, by no more than this.
TEST(Device, TrainingFollowsTheHost) {
  KILN_NEEDS_GPU();
  for (const char* rule : {"adamw", "bert_adam", "lamb", "lars", "sgd"}) {
    const auto host = losses_of_training(mae(at::kFloat), at::kCPU, rule);
    const auto device = losses_of_training(mae(at::kFloat), at::Device(at::kCUDA, 0), rule);
    for (std::size_t i = 0; i < host.size(); ++i) {
      EXPECT_NEAR(device[i], host[i], 1e-3 * host[i]) << rule << " step " << i;
    }
  }
}

/// Losses of steps of two micro-batches each, every one of other samples.
std::vector<double> losses_of_passes(Trial trial, std::int64_t num_steps, at::Device device,
                                     const MakeRecorder& make_recorder) {
  trial.objective->module().to(device);
  trial.objective->module().train();
  const auto communicator = make_local_communicator();
  TrainingPhase::Options options;
  options.clip_norm = 1.0;
  const auto exchange = [&](FlatParameters& flat) {
    return make_gradient_exchange(flat, *communicator, {.num_micro_batches = 2});
  };
  TrainingPhase phase("all", trial.objective->parameters(0), options, exchange, *communicator);
  MicroBatchPass pass(*trial.objective, 0, phase.exchange(), /*has_peers=*/false, make_recorder);
  std::vector<double> losses;
  for (std::int64_t step = 0; step < num_steps; ++step) {
    double sum = 0.0;
    for (const std::int64_t micro_batch : {0, 1}) {
      Batch batch = trial.batch;
      batch.micro_batch = micro_batch;
      batch.first_position = (2 * step + micro_batch) * batch.num_samples;
      for (auto& [name, tensor] : batch.tensors) tensor = tensor.roll(batch.first_position + step);
      trial.objective->prepare(batch, 9);
      for (auto& [name, weight] : batch.denominators) weight *= 2;
      for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(device);
      const StepContext context{.step = step, .seed = 9};
      sum += pass.run(batch, context, {micro_batch == 0, micro_batch == 1})->value.item<double>();
    }
    phase.exchange().finish();
    phase.update({.norm = phase.gradient_norm(), .lr = 1e-3});
    losses.push_back(sum);
  }
  EXPECT_EQ(pass.num_replays(), make_recorder ? 2 * num_steps - MicroBatchPass::kRehearsals : 0);
  return losses;
}

// On a GPU attention's backward adds in no fixed order, and rounding differences grow.
TEST(Device, ReplayedTrainingFollowsPlainTraining) {
  KILN_NEEDS_GPU();
  const at::Device device(at::kCUDA, 0);
  const auto compare = [&](const char* name, const auto& make, at::ScalarType type, double bound) {
    const auto plain = losses_of_passes(make(type), 20, device, {});
    const auto replayed =
        losses_of_passes(make(type), 20, device, [&] { return make_gpu_recorder(device); });
    for (std::size_t i = 0; i < plain.size(); ++i) {
      EXPECT_NEAR(replayed[i], plain[i], bound * plain[i]) << name << " step " << i;
    }
  };
  for (const auto& [type, bound] : {std::pair{at::kFloat, 1e-4}, {at::kBFloat16, 2e-2}}) {
    compare("mae", mae, type, bound);
    for (const char* preset : {"dit_tiny", "unet_tiny"}) {
      const auto make = [&](at::ScalarType t) { return diffusion(preset, t); };
      compare(preset, make, type, bound);
    }
  }
}

TEST(Device, TrainingReplayedOnTheHostHasTheBitsOfPlainTraining) {
  const auto compare = [](Trial replayed, Trial plain) {
    HostRecorder::Counts counts;
    EXPECT_EQ(losses_of_passes(std::move(replayed), 4, at::kCPU, HostRecorder::maker(counts)),
              losses_of_passes(std::move(plain), 4, at::kCPU, {}));
  };
  compare(mae(at::kFloat), mae(at::kFloat));
  compare(diffusion("dit_tiny", at::kBFloat16), diffusion("dit_tiny", at::kBFloat16));
  compare(diffusion("unet_tiny", at::kFloat), diffusion("unet_tiny", at::kFloat));
}

// What the tests above are built of, where there is no GPU: the host against itself.
TEST(Device, TrialsRunOnTheHost) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    Trial trials[] = {mae(type), bert(type), diffusion("dit_tiny", type),
                      diffusion("unet_tiny", type)};
    for (Trial& trial : trials) {
      stir(*trial.objective);
      const Result first = run(trial, at::kCPU), second = run(trial, at::kCPU);
      EXPECT_EQ(first.loss, second.loss);
      EXPECT_TRUE(std::isfinite(first.loss));
      EXPECT_GT(first.gradients.size(), 10u);
    }
  }
  const auto losses = losses_of_training(mae(at::kFloat), at::kCPU, "lamb");
  EXPECT_LT(losses.back(), losses.front());
}

}  // namespace
}  // namespace kiln
