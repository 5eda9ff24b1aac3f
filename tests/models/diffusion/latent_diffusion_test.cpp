#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "core/torch.h"
#include "models/diffusion/generate.h"
#include "models/diffusion/likelihood.h"
#include "models/diffusion/objective.h"
#include "models/dit/dit.h"
#include "models/unet/unet.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

// Tensors this small gain nothing from threads.
const bool kHasOneThread = [] {
  at::set_num_threads(1);
  return true;
}();

DatasetInfo tiny_data(const char* kind) {
  DatasetInfo data;
  data.kind = kind;
  data.channels = std::string(kind) == "latent" ? 4 : 1;
  data.height = data.width = 8;
  data.class_names.resize(10);
  return data;
}

struct Choice {
  const char* kind = "latent";
  const char* preset = "dit_tiny";
  FormulationOptions formulation = {};
  LatentDiffusionOptions options = {};
};

std::unique_ptr<LatentDiffusion> make(Choice choice = {}) {
  const DatasetInfo data = tiny_data(choice.kind);
  choice.options.preset = choice.preset;
  choice.options.depth = 1;
  EXPECT_TRUE(choice.options.resolve(data).empty());
  const bool is_learned = choice.formulation.learn_variance;
  std::shared_ptr<DiffusionNetwork> network;
  if (choice.options.is_dit()) {
    network =
        std::make_shared<Dit>(choice.options.dit_shape(data, is_learned), at::TensorOptions());
  } else {
    network =
        std::make_shared<UNet>(choice.options.unet_shape(data, is_learned), at::TensorOptions());
  }
  network->initialise(1);
  const at::NoGradGuard no_grad;
  std::int64_t index = 100;  // away from the zeros it begins with
  for (Parameter& p : network->trainable()) p.tensor.add_(normal(p.tensor.sizes(), ++index) * 0.05);
  return std::make_unique<LatentDiffusion>(network, choice.options, choice.formulation, data);
}

Batch raw_batch(const LatentDiffusion& model, std::int64_t first, std::int64_t size) {
  Batch batch;
  batch.first_position = first;
  batch.num_samples = size;
  std::vector<at::Tensor> rows, labels;
  for (std::int64_t i = 0; i < size; ++i) {
    rows.push_back(model.is_latent()
                       ? normal({8, 8, 8}, first + i).to(at::kHalf)
                       : (normal({8, 8, 1}, first + i) * 60 + 128).clamp(0, 255).to(at::kByte));
    labels.push_back(at::full({}, (first + i) % 10, at::kLong));
  }
  batch.tensors[model.is_latent() ? "moments" : "image"] = at::stack(rows);
  batch.tensors["label"] = at::stack(labels);
  if (model.options().conditioning == "text") {
    batch.tensors["context"] = normal({size, 3, 6}, 1000 + first).to(at::kHalf);
  }
  return batch;
}

Batch prepared(const LatentDiffusion& model, std::int64_t first, std::int64_t size) {
  Batch batch = raw_batch(model, first, size);
  model.prepare(batch, 7);
  return batch;
}

std::vector<Choice> all_choices() {
  std::vector<Choice> choices(7);
  choices[1].formulation.prediction = "v";
  choices[2].formulation.learn_variance = true;
  choices[3].formulation.formulation = "edm";
  choices[3].formulation.weighting = "edm";
  choices[4].formulation.formulation = "flow";
  choices[5].formulation.formulation = "score";
  choices[5].kind = "image";
  choices[6].preset = "unet_tiny";
  choices[6].options.dropout = 0.1;
  return choices;
}

TEST(LatentDiffusion, LossesOfMicroBatchesAddUpToThatOfTheWhole) {
  for (const Choice& choice : all_choices()) {
    const auto model = make(choice);
    StepContext context{.global_batch = 4, .seed = 7, .is_training = false};
    const double whole = model->loss(prepared(*model, 20, 4), context, 0)->value.item<double>();
    double sum = 0.0;
    for (const std::int64_t first : {20, 22}) {
      Batch half = prepared(*model, first, 2);
      half.denominators["samples"] = 4.0;
      sum += model->loss(half, context, 0)->value.item<double>();
    }
    EXPECT_NEAR(sum, whole, 2e-6 * whole) << choice.formulation.formulation;  // fp32
  }
}

TEST(LatentDiffusion, EveryParameterGetsAGradient) {
  for (const Choice& choice : all_choices()) {
    const auto model = make(choice);
    const StepContext context{.global_batch = 4, .seed = 7};
    model->loss(prepared(*model, 20, 4), context, 0)->value.backward();
    for (const Parameter& p : model->parameters(0))
      EXPECT_TRUE(p.tensor.grad().defined()) << p.name;
  }
}

TEST(LatentDiffusion, LossOfAZeroNetworkIsThePowerOfTheTarget) {
  Choice choice;
  choice.formulation.formulation = "flow";
  const auto model = make(choice);
  {
    const at::NoGradGuard no_grad;
    for (Parameter& p : model->parameters(0)) p.tensor.zero_();
  }
  const Batch batch = prepared(*model, 0, 8);
  const at::Tensor target = batch.at("noise") - model->clean(batch);
  const double loss =
      model->loss(batch, StepContext{.global_batch = 8, .seed = 7}, 0)->value.item<double>();
  EXPECT_NEAR(loss, target.square().mean().item<double>(), 1e-5);
}

TEST(LatentDiffusion, DropsLabelsAtTheGivenRate) {
  Choice choice;
  choice.options.label_dropout = 0.25;
  const auto model = make(choice);
  const Batch batch = prepared(*model, 0, 2000);
  const double share = batch.at("label").eq(10).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(share, 0.25, 5 * std::sqrt(0.25 * 0.75 / 2000));
}

Choice by_texts() {
  Choice choice;
  choice.options.conditioning = "text";
  choice.options.context_dim = 6;
  choice.options.label_dropout = 0.25;
  return choice;
}

TEST(LatentDiffusion, DropsTextsToZeros) {
  const auto model = make(by_texts());
  const at::Tensor context = prepared(*model, 0, 400).at("context").flatten(1);
  const double share = context.eq(0).all(1).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(share, 0.25, 5 * std::sqrt(0.25 * 0.75 / 400));
}

TEST(LatentDiffusion, DrawsBelongToPositions) {
  const auto model = make();
  const Batch whole = prepared(*model, 40, 6), part = prepared(*model, 43, 3);
  for (const char* name : {"noise", "posterior_noise", "level", "timestep", "label"}) {
    EXPECT_TRUE(whole.at(name).narrow(0, 3, 3).equal(part.at(name))) << name;
  }
}

Conditioning labels(std::vector<std::int64_t> values) {
  return {at::tensor(values, at::kLong), {}};
}

GenerateOptions quick(std::int64_t steps = 3) {
  GenerateOptions options;
  options.sampler.steps = steps;
  options.seed = 11;
  return options;
}

TEST(Generate, SamplesDependOnTheirNumberNotOnWhoMakesThem) {
  const auto model = make();
  const GenerateOptions options = checked(quick(), *model);
  const at::Tensor both = at::cat({generate(*model, options, 0, 2, labels({1, 2})),
                                   generate(*model, options, 2, 2, labels({3, 4}))});
  const at::Tensor again = generate(*model, options, 2, 2, labels({3, 4}));
  EXPECT_TRUE(both.narrow(0, 2, 2).equal(again));
  EXPECT_FALSE(both[0].equal(both[2]));
}

TEST(Generate, GuidanceOfOneIsNone) {
  const auto model = make();
  GenerateOptions options = checked(quick(), *model);
  const at::Tensor plain = generate(*model, options, 0, 2, labels({1, 2}));
  options.guidance = 1.0 + 1e-12;  // takes the guided path
  const at::Tensor guided = generate(*model, options, 0, 2, labels({1, 2}));
  EXPECT_LT((plain - guided).abs().max().item<double>(), 1e-4);
  options.guidance = 3.0;
  EXPECT_FALSE(plain.allclose(generate(*model, options, 0, 2, labels({1, 2}))));
}

TEST(Generate, NullLabelIsTheUnconditionalPath) {
  const auto model = make();
  GenerateOptions options = checked(quick(), *model);
  const at::Tensor none = generate(*model, options, 0, 2, labels({10, 10}));
  options.guidance = 0.0;  // all weight on "no class"
  const at::Tensor zero = generate(*model, options, 0, 2, labels({1, 2}));
  EXPECT_LT((none - zero).abs().max().item<double>(), 1e-4);
}

TEST(Generate, NoTextIsWhatTrainingDropsTextsTo) {
  const auto model = make(by_texts());
  GenerateOptions options = checked(quick(), *model);
  const Conditioning text = {{}, normal({2, 3, 6}, 50).to(at::kHalf)};
  const Conditioning nothing = {{}, at::zeros({2, 3, 6}, at::kHalf)};
  const at::Tensor none = generate(*model, options, 0, 2, nothing);
  EXPECT_FALSE(none.allclose(generate(*model, options, 0, 2, text)));
  options.guidance = 0.0;  // all weight on "no text"
  EXPECT_LT((none - generate(*model, options, 0, 2, text)).abs().max().item<double>(), 1e-4);
}

TEST(Generate, LatentsAreDividedByTheScaleAndPixelsAreNot) {
  Choice latent;
  latent.options.latent_scale = 0.5;
  const auto a = make(latent);
  latent.options.latent_scale = 1.0;
  const auto b = make(latent);
  const at::Tensor half = generate(*a, checked(quick(), *a), 0, 1, labels({1}));
  const at::Tensor one = generate(*b, checked(quick(), *b), 0, 1, labels({1}));
  EXPECT_TRUE(half.allclose(one * 2.0));
  Choice pixels;
  pixels.kind = "image";
  const auto c = make(pixels);
  EXPECT_EQ(generate(*c, checked(quick(), *c), 0, 1, labels({1})).sizes(),
            (at::IntArrayRef{1, 1, 8, 8}));
}

TEST(Generate, RunsEverySamplerOfEveryFormulation) {
  for (const Choice& choice : all_choices()) {
    const auto model = make(choice);
    for (const std::string& name : model->formulation().samplers()) {
      GenerateOptions options = quick(2);
      options.sampler.sampler = name;
      options.sampler.langevin_steps = 1;
      options.sampler.clip = 1.0;  // untrained networks run away
      const at::Tensor x = generate(*model, checked(options, *model), 0, 1, labels({1}));
      EXPECT_TRUE(x.isfinite().all().item<bool>()) << choice.formulation.formulation << " " << name;
    }
  }
}

TEST(Generate, RefusesWhatTheModelCannotDo) {
  Choice unconditional;
  unconditional.options.conditioning = "none";
  const auto blind = make(unconditional);
  GenerateOptions guided = quick();
  guided.guidance = 2.0;
  EXPECT_THROW(checked(guided, *blind), Error);
  Choice undropped;
  undropped.options.label_dropout = 0.0;
  EXPECT_THROW(checked(guided, *make(undropped)), Error);
}

/// Exact velocity for data N(1, .25) per value.
at::Tensor gaussian_velocity(const at::Tensor& x, double t) {
  const double a = 1.0 - t, b = t, variance = a * a * 0.25 + b * b;
  const at::Tensor weighted = (x - a) / variance;
  return weighted * b - (weighted * (a * 0.25) + 1.0);  // E[n | x] - E[x0 | x]
}

TEST(FlowLikelihood, IsExactForAGaussian) {
  const at::Tensor x = normal({4, 3}, 1).to(at::kDouble) * 0.5 + 1.0;
  const at::Tensor expected =
      ((x - 1.0).square() / 0.25).sum(1) * -0.5 - 1.5 * std::log(2.0 * std::numbers::pi * 0.25);
  for (const std::int64_t probes : {0, 4}) {  // the Jacobian is a multiple of the identity
    const at::Tensor ours =
        flow_log_likelihood(gaussian_velocity, x, {.steps = 400, .probes = probes});
    EXPECT_LT((ours - expected).abs().max().item<double>(), 1e-3) << probes;
  }
}

TEST(FlowLikelihood, HutchinsonsEstimateIsUnbiased) {
  const at::Tensor matrix = normal({3, 3}, 2).to(at::kDouble) * 0.3;
  const Velocity linear = [&](const at::Tensor& x, double) { return x.mm(matrix.t()); };
  const at::Tensor x = at::zeros({2000, 3}, at::kDouble);
  const double exact =
      flow_log_likelihood(linear, x.narrow(0, 0, 1), {.steps = 2, .probes = 0}).item<double>();
  const at::Tensor estimates = flow_log_likelihood(linear, x, {.steps = 2, .probes = 1});
  const double error = estimates.std().item<double>() / std::sqrt(2000.0);
  EXPECT_NEAR(estimates.mean().item<double>(), exact, 5 * error);
}

TEST(Likelihood, RefusesTheOtherFormulation) {
  const auto model = make();
  const Batch batch = prepared(*model, 0, 2);
  EXPECT_THROW(flow_bits_per_value(*model, batch, {}), Error);
  Choice choice;
  choice.formulation.formulation = "flow";
  const auto flow = make(choice);
  const Batch flow_batch = prepared(*flow, 0, 2);
  EXPECT_THROW(variational_bits_per_value(*flow, flow_batch, 10, 1), Error);
  EXPECT_TRUE(flow_bits_per_value(*flow, flow_batch, {.steps = 2}).isfinite().all().item<bool>());
}

TEST(Likelihood, VariationalBoundOfAPixelModelIsFinite) {
  Choice choice;
  choice.kind = "image";
  choice.formulation.learn_variance = true;
  const auto model = make(choice);
  const at::Tensor bits = variational_bits_per_value(*model, prepared(*model, 0, 2), 5, 1);
  EXPECT_EQ(bits.sizes(), (at::IntArrayRef{2}));
  EXPECT_TRUE(bits.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace kiln
