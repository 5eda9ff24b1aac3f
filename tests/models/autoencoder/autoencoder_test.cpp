#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/torch.h"
#include "models/autoencoder/bottleneck.h"
#include "models/autoencoder/codebook.h"
#include "models/autoencoder/discriminator.h"
#include "models/autoencoder/objective.h"
#include "models/layers/parameters.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

// Tensors this small gain nothing from threads.
const bool kHasOneThread = [] {
  at::set_num_threads(1);
  return true;
}();

AutoencoderOptions tiny_options(const std::string& preset) {
  AutoencoderOptions options;
  options.preset = preset;
  options.channels = 8;
  options.multipliers = {1, 2};
  options.norm_groups = 4;
  options.codes = 8;
  options.resolve();
  return options;
}

std::unique_ptr<AutoencoderObjective> tiny(AutoencoderOptions options) {
  auto objective = std::make_unique<AutoencoderObjective>(options.shape(1), options,
                                                          at::TensorOptions(at::kFloat));
  objective->initialise(7);
  return objective;
}

Batch image_batch(std::int64_t first_position, std::int64_t size, const Objective& objective) {
  Batch batch;
  batch.first_position = first_position;
  batch.num_samples = size;
  batch.tensors["image"] = (normal({size, 8, 8, 1}, first_position, at::kDouble) * 60.0 + 128.0)
                               .clamp(0, 255)
                               .to(at::kByte);
  objective.prepare(batch, 7);
  return batch;
}

std::int64_t num_parameters(const char* preset) {
  AutoencoderOptions options;
  options.preset = preset;
  EXPECT_TRUE(options.resolve());
  const Autoencoder network(options.shape(3), at::TensorOptions(at::kMeta));
  std::int64_t count = 0;
  for (const at::Tensor& tensor : network.parameters()) count += tensor.numel();
  return count;
}

TEST(Autoencoder, PublishedPresetsHaveThePublishedNumberOfParameters) {
  EXPECT_EQ(num_parameters("kl_f8"), 83'653'863);
  EXPECT_EQ(num_parameters("kl_f4"), 55'312'063);
  EXPECT_EQ(num_parameters("kl_f16"), 69'610'963);
  EXPECT_EQ(num_parameters("vq_f8"), 67'717'295);
  EXPECT_EQ(num_parameters("vq_f4"), 55'322'782);
  EXPECT_EQ(num_parameters("vqgan_f16"), 72'141'699);
}

TEST(PatchDiscriminator, HasThePublishedNumberOfParameters) {
  const auto count = [](std::int64_t layers) {
    const PatchDiscriminator network(3, 64, layers, at::TensorOptions(at::kMeta));
    std::int64_t sum = 0;
    for (const at::Tensor& tensor : network.parameters()) sum += tensor.numel();
    return sum;
  };
  EXPECT_EQ(count(3), 2'765'633);
  EXPECT_EQ(count(2), 663'361);
}

TEST(DiagonalGaussian, KlHasTheClosedForm) {
  const at::Tensor moments = at::tensor({1.0, 2.0 * std::log(0.5)}, at::kDouble).view({1, 2, 1, 1});
  EXPECT_NEAR(DiagonalGaussian::from_moments(moments).kl().item<double>(), 0.81814718, 5e-9);
}

TEST(DiagonalGaussian, KlIsTheMeanLogRatioOfItsSamples) {
  constexpr std::int64_t kSamples = 1'000'000;
  const at::Tensor moments = at::tensor({1.0, 2.0 * std::log(0.5)}, at::kDouble).view({1, 2, 1, 1});
  const auto q = DiagonalGaussian::from_moments(moments);
  const at::Tensor z = q.sample(normal({kSamples, 1, 1, 1}, 0, at::kDouble));
  const at::Tensor log_ratio =
      (z.square() - (z - 1.0).square() / 0.25) * 0.5 - std::log(0.5);  // ln q(z) - ln N(z; 0, 1)
  EXPECT_NEAR(log_ratio.mean().item<double>(), q.kl().item<double>(), 0.00818);
}

TEST(DiagonalGaussian, ClampsTheLogVariance) {
  const at::Tensor moments = at::tensor({0.0, 0.0, 99.0, -99.0}, at::kDouble).view({1, 4, 1, 1});
  const auto q = DiagonalGaussian::from_moments(moments);
  EXPECT_EQ(q.log_variance.max().item<double>(), 20.0);
  EXPECT_EQ(q.log_variance.min().item<double>(), -30.0);
}

TEST(Quantise, PassesGradientsStraightThroughAndAddsTheCommitment) {
  const at::Tensor codes = normal({5, 3}, 1, at::kDouble);
  const at::Tensor z = normal({2, 3, 4, 4}, 2, at::kDouble).requires_grad_();
  const at::Tensor seen = normal({2, 3, 4, 4}, 3, at::kDouble);  // dL/dz_q of the rest
  const Quantised q = quantise(z, codes);
  ((q.z_q * seen).sum() + quantisation_loss(q, 0.25, /*is_legacy=*/false)).backward();
  const at::Tensor expected =
      seen + (z.detach() - q.z_q.detach()) * (2.0 * 0.25 / static_cast<double>(z.numel()));
  EXPECT_LT((z.grad() - expected).abs().max().item<double>(), 1e-14);
}

TEST(Quantise, CodesLearnFromTheirOwnTermAlone) {
  const at::Tensor z = normal({2, 3, 4, 4}, 2, at::kDouble);
  for (const bool is_legacy : {false, true}) {
    const at::Tensor codes = normal({5, 3}, 1, at::kDouble).requires_grad_();
    const Quantised q = quantise(z, codes);
    ((q.z_q * 100.0).sum() + quantisation_loss(q, 0.25, is_legacy)).backward();
    const at::Tensor rows = z.permute({0, 2, 3, 1}).reshape({-1, 3});
    at::Tensor expected = at::zeros({5, 3}, at::kDouble);
    const at::Tensor pull = codes.detach().index_select(0, q.indices.flatten()) - rows;
    expected.index_add_(0, q.indices.flatten(), pull);
    expected *= (is_legacy ? 0.25 : 1.0) * 2.0 / static_cast<double>(z.numel());
    EXPECT_LT((codes.grad() - expected).abs().max().item<double>(), 1e-14) << is_legacy;
  }
}

TEST(Quantise, TakesTheNearestCode) {
  const at::Tensor codes = at::tensor({0.0, 0.0, 1.0, 1.0, -1.0, 2.0}, at::kDouble).view({3, 2});
  const at::Tensor z = at::tensor({0.9, 0.8, -0.8, 1.9}, at::kDouble).view({2, 2, 1, 1});
  EXPECT_TRUE(quantise(z, codes).indices.flatten().equal(at::tensor({1, 2}, at::kLong)));
}

struct Toy {
  at::Tensor first = normal({3, 3}, 4, at::kDouble),
             last = normal({2, 3}, 5, at::kDouble).requires_grad_(),
             x = normal({3, 1}, 6, at::kDouble);
  at::Tensor made() const { return last.mm(first.mm(x).tanh()); }
};

TEST(AdaptiveWeight, IsTheRatioOfTheLastLayersGradients) {
  const Toy toy;
  const at::Tensor made = toy.made();
  const at::Tensor hidden = toy.first.mm(toy.x).tanh();  // dL/d last = (dL/d made) hidden^T
  const at::Tensor nll = made.square().sum(), g = -made.sum();
  const double of_nll = (made.detach() * 2.0).mm(hidden.t()).norm().item<double>();
  const double of_g = at::ones_like(made).mm(hidden.t()).norm().item<double>();
  EXPECT_NEAR(adaptive_weight(nll, g, toy.last).item<double>(), of_nll / (of_g + 1e-4), 1e-12);
  EXPECT_EQ(adaptive_weight(nll, g, toy.last).item<double>(),
            adaptive_weight(nll, -g, toy.last).item<double>());
}

TEST(AdaptiveWeight, StopsAtTenThousand) {
  const Toy toy;
  const at::Tensor made = toy.made();
  EXPECT_EQ(adaptive_weight(made.square().sum() * 1e9, made.sum() * 1e-9, toy.last).item<double>(),
            1e4);
}

Batch part_of(const Batch& whole, std::int64_t first, std::int64_t size) {
  Batch part = whole;
  for (auto& [name, tensor] : part.tensors) tensor = tensor.narrow(0, first, size);
  part.first_position = whole.first_position + first;
  part.num_samples = size;
  part.micro_batch = first / size;
  return part;
}

TEST(AutoencoderObjective, LossesOfMicroBatchesAddUpToThatOfTheWhole) {
  for (const char* preset : {"tiny_kl", "tiny_vq"}) {
    const auto objective = tiny(tiny_options(preset));
    const StepContext context{.global_batch = 4, .seed = 7};
    const Batch batch = image_batch(0, 4, *objective);
    const double whole = objective->loss(batch, context, 0)->value.item<double>();
    double sum = 0.0;
    for (const std::int64_t first : {0, 2}) {
      sum += objective->loss(part_of(batch, first, 2), context, 0)->value.item<double>();
    }
    EXPECT_NEAR(sum, whole, 1e-6 * std::abs(whole)) << preset;  // fp32
  }
}

TEST(AutoencoderObjective, PosteriorNoiseBelongsToThePosition) {
  const auto objective = tiny(tiny_options("tiny_kl"));
  const at::Tensor whole = image_batch(0, 4, *objective).at("posterior_noise");
  const at::Tensor part = image_batch(2, 2, *objective).at("posterior_noise");
  EXPECT_TRUE(whole.narrow(0, 2, 2).equal(part));
}

TEST(AutoencoderObjective, DiscriminatorRestsUntilItsStep) {
  AutoencoderOptions options = tiny_options("tiny_kl");
  options.discriminator = true;
  options.discriminator_start = 5;
  options.discriminator_layers = 1;
  options.discriminator_channels = 8;
  const auto objective = tiny(options);
  const Batch batch = image_batch(0, 4, *objective);
  std::vector<std::string> names;
  for (const Phase& phase : objective->phases()) names.push_back(phase.name);
  ASSERT_EQ(names, (std::vector<std::string>{"generator", "discriminator"}));
  EXPECT_FALSE(objective->loss(batch, StepContext{.step = 4, .global_batch = 4}, 1).has_value());
  EXPECT_TRUE(objective->loss(batch, StepContext{.step = 5, .global_batch = 4}, 1).has_value());
  const auto has_adversary = [&](std::int64_t step) {
    const auto loss = objective->loss(batch, StepContext{.step = step, .global_batch = 4}, 0);
    return loss->metrics.at("adaptive_weight").second > 0.0;  // always there, for the log's sake
  };
  EXPECT_FALSE(has_adversary(4));
  EXPECT_TRUE(has_adversary(5));
}

TEST(AutoencoderObjective, ReportsACollapsedCodebookAndAnAdversaryThatRunsAway) {
  EXPECT_NE(codebook_warning(1.5, 256).find("codebook collapse: 1.5 of 256"), std::string::npos);
  EXPECT_EQ(codebook_warning(40.0, 256), "");
  EXPECT_NE(adversary_warning(-63.0).find("adversary diverges"), std::string::npos);
  EXPECT_EQ(adversary_warning(-1.2), "");
}

TEST(AutoencoderObjective, SumsTellTheDiscriminatorsLogitOfTheGlobalBatch) {
  AutoencoderOptions options = tiny_options("tiny_vq");
  options.discriminator = true;
  options.discriminator_start = 0;
  options.discriminator_layers = 1;
  options.discriminator_channels = 8;
  const auto objective = tiny(options);
  const auto loss = objective->loss(image_batch(0, 4, *objective), {.global_batch = 4}, 0);
  const Sums sums = objective->sums(0);
  EXPECT_EQ(sums.at("adversary.logit")[1].item<double>(), 4.0);
  EXPECT_NEAR(sums.at("adversary.logit")[0].item<double>(),
              -loss->metrics.at("adversarial").first.item<double>(), 1e-6);
  EXPECT_TRUE(sums.contains("codebook.counts"));
}

TEST(AutoencoderObjective, EachPhaseGivesGradientsToItsOwnParametersOnly) {
  AutoencoderOptions options = tiny_options("tiny_kl");
  options.discriminator = true;
  options.discriminator_start = 0;
  options.discriminator_layers = 1;
  options.discriminator_channels = 8;
  const auto objective = tiny(options);
  const Batch batch = image_batch(0, 4, *objective);
  for (const std::size_t phase : {0, 1}) {
    for (const std::size_t part : {0, 1}) {
      for (const Parameter& p : objective->parameters(part)) {
        p.tensor.set_requires_grad(part == phase);
        p.tensor.mutable_grad().reset();
      }
    }
    objective->loss(batch, StepContext{.step = 0, .global_batch = 4}, phase)->value.backward();
    for (const Parameter& p : objective->parameters(phase)) {
      EXPECT_TRUE(p.tensor.grad().defined()) << p.name;
    }
    for (const Parameter& p : objective->parameters(1 - phase)) {
      EXPECT_FALSE(p.tensor.grad().defined()) << p.name;
    }
  }
}

TEST(AutoencoderObjective, NamesOfParametersAreUnique) {
  AutoencoderOptions options = tiny_options("tiny_vq");
  options.discriminator = true;
  const auto objective = tiny(options);
  std::set<std::string> names;
  std::size_t count = 0;
  for (const std::size_t phase : {0, 1}) {
    for (const Parameter& p : objective->parameters(phase)) names.insert(p.name), ++count;
  }
  EXPECT_EQ(names.size(), count);
  EXPECT_EQ(named_tensors(objective->module()).size(), count);
}

TEST(AutoencoderObjective, PaddingIsCutOffAgain) {
  AutoencoderOptions options = tiny_options("tiny_kl");
  options.pad = 2;
  const auto objective = tiny(options);
  const at::Tensor images =
      (normal({2, 8, 8, 1}, 9, at::kDouble) * 60.0 + 128.0).clamp(0, 255).to(at::kByte);
  const at::Tensor x = objective->to_input(images);
  EXPECT_EQ(x.sizes(), (at::IntArrayRef{2, 1, 12, 12}));
  EXPECT_EQ(x.select(2, 0).max().item<float>(), -1.0f);
  EXPECT_TRUE(objective->to_pictures(x).equal(images));
}

Sums counts_of(const CodebookStatistics& statistics, std::vector<std::int64_t> indices) {
  const auto n = static_cast<std::int64_t>(indices.size());
  const at::Tensor z = at::arange(n * 2, at::kFloat).view({1, n, 1, 2}).permute({0, 3, 1, 2});
  return statistics.contributions(z, at::tensor(indices, at::kLong).view({1, n, 1}), 0, 1);
}

TEST(CodebookStatistics, PerplexityCountsTheCodesInUse) {
  CodebookStatistics statistics({.codes = 8, .channels = 2}, at::TensorOptions(at::kFloat));
  at::Tensor codes = at::zeros({8, 2});
  statistics.update(counts_of(statistics, {0, 1, 2, 3}), 0, codes);
  EXPECT_NEAR(statistics.perplexity().item<double>(), 4.0, 1e-5);
  CodebookStatistics collapsed({.codes = 8, .channels = 2}, at::TensorOptions(at::kFloat));
  collapsed.update(counts_of(collapsed, {5, 5, 5, 5}), 0, codes);
  EXPECT_NEAR(collapsed.perplexity().item<double>(), 1.0, 1e-6);
}

TEST(CodebookStatistics, AveragedCodesConvergeToTheMeanOfTheirVectors) {
  CodebookStatistics statistics({.codes = 2, .channels = 2, .is_averaged = true, .decay = 0.5},
                                at::TensorOptions(at::kFloat));
  at::Tensor codes = at::zeros({2, 2});
  statistics.start_from(codes);
  for (int step = 0; step < 60; ++step) {
    statistics.update(counts_of(statistics, {0, 0, 1}), step, codes);
  }
  // Vectors (0, 1), (2, 3) stand under code 0, (4, 5) under code 1.
  EXPECT_TRUE(codes.allclose(at::tensor({1.0f, 2.0f, 4.0f, 5.0f}).view({2, 2}), 1e-4));
}

TEST(CodebookStatistics, UnusedCodesBeginAnewAtAnEncoderOutput) {
  CodebookStatistics statistics(
      {.codes = 3, .channels = 2, .is_averaged = true, .decay = 0.5, .restart_below = 0.1},
      at::TensorOptions(at::kFloat));
  at::Tensor codes = at::full({3, 2}, -7.0f);
  statistics.start_from(codes);
  for (int step = 0; step < 20; ++step) {
    statistics.update(counts_of(statistics, {0, 0, 1}), step, codes);
  }
  const at::Tensor proposal = counts_of(statistics, {0, 0, 1}).at("codebook.proposals")[0];
  EXPECT_GT(codes[2].min().item<float>(), -1.0f);
  EXPECT_LT((codes[2] - proposal).abs().max().item<float>(), 0.1f);
}

}  // namespace
}  // namespace kiln
