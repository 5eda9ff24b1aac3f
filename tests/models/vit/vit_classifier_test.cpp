#include "models/vit/vit_classifier.h"

#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>

#include <set>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/torch.h"
#include "models/layers/parameters.h"
#include "models/mae/mae.h"
#include "models/mae/mae_options.h"
#include "models/vit/mixing.h"

namespace kiln {
namespace {

constexpr std::int64_t kClasses = 5;

ClassifierShape small_shape(Pool pool) {
  const VitShape encoder = {.height = 16,
                            .width = 16,
                            .channels = 1,
                            .patch = 4,
                            .dim = 32,
                            .depth = 2,
                            .heads = 2,
                            .mlp_dim = 64,
                            .has_learned_positions = true};
  return classifier_shape(encoder, pool, kClasses);
}

ClassifierObjective make(Pool pool, const ClassifierLoss& loss = {}) {
  ClassifierObjective objective(small_shape(pool), loss, PixelNormalisation({0.5}, {0.5}),
                                at::TensorOptions());
  objective.initialise(1);
  return objective;
}

Batch make_batch(const Objective& objective, std::int64_t count) {
  at::Tensor pixels = at::empty({count, 16, 16, 1});
  fill_uniform(Philox(5, Purpose::kNoise, 0), pixels.data_ptr<float>(), pixels.numel());
  Batch batch;
  batch.num_samples = count;
  batch.tensors["image"] = pixels.mul_(256).to(at::kByte);
  batch.tensors["label"] = at::arange(count, at::kLong).remainder(kClasses);
  objective.prepare(batch, 3);
  return batch;
}

double loss_of(ClassifierObjective& objective, const Batch& batch, bool is_training) {
  const at::NoGradGuard no_grad;
  return objective.loss(batch, StepContext{.is_training = is_training}, 0)->value.item<double>();
}

TEST(VitClassifier, StartsAtTheLossOfAGuess) {
  for (const Pool pool : {Pool::kMean, Pool::kCls}) {
    ClassifierObjective objective = make(pool);
    const double loss = loss_of(objective, make_batch(objective, 8), false);
    EXPECT_NEAR(loss, std::log(double{kClasses}), 1e-3);  // the head starts near zero
  }
}

TEST(VitClassifier, SmoothingAppliesToTrainingOnly) {
  ClassifierObjective plain = make(Pool::kMean);
  ClassifierObjective smoothed = make(Pool::kMean, {.label_smoothing = 0.4});
  for (ClassifierObjective* objective : {&plain, &smoothed}) {
    const at::NoGradGuard no_grad;
    objective->network().head->bias.copy_(at::arange(kClasses, at::kFloat));
  }
  const Batch batch = make_batch(plain, 8);
  EXPECT_EQ(loss_of(plain, batch, false), loss_of(smoothed, batch, false));
  EXPECT_NE(loss_of(plain, batch, true), loss_of(smoothed, batch, true));
}

TEST(VitClassifier, LearningRateFallsByLayer) {
  ClassifierObjective objective = make(Pool::kMean, {.layer_decay = 0.5});
  std::map<std::string, double> scale;
  for (const Parameter& parameter : objective.parameters(0))
    scale[parameter.name] = parameter.lr_scale;
  EXPECT_EQ(scale.at("head.weight"), 1.0);
  EXPECT_EQ(scale.at("fc_norm.weight"), 1.0);
  EXPECT_EQ(scale.at("blocks.1.attn.qkv.weight"), 0.5);
  EXPECT_EQ(scale.at("blocks.0.attn.qkv.weight"), 0.25);
  EXPECT_EQ(scale.at("pos_embed"), 0.125);
  EXPECT_EQ(scale.at("patch_embed.proj.weight"), 0.125);
}

TEST(VitClassifier, TakesTheEncoderOfAMaskedAutoencoder) {
  MaeShape shape;
  shape.encoder = small_shape(Pool::kMean).encoder;
  shape.encoder.has_learned_positions = false;
  shape.encoder.has_final_norm = true;
  shape.decoder_dim = 32;
  shape.decoder_heads = 2;
  shape.decoder_depth = 1;
  shape.decoder_mlp_dim = 64;
  MaeObjective mae(shape, PixelNormalisation({0.5}, {0.5}), at::TensorOptions());
  mae.initialise(7);
  ClassifierObjective objective = make(Pool::kMean);
  objective.load_encoder(named_tensors(mae.module()), "the autoencoder");
  EXPECT_TRUE(objective.network().blocks[1]->mlp->fc2->weight.equal(
      mae.network().blocks[1]->mlp->fc2->weight));
  EXPECT_TRUE(objective.network().pos_embed.equal(mae.network().pos_embed));
  EXPECT_THROW(objective.load_encoder({}, "nothing"), Error);
}

TEST(VitClassifier, DropPathActsInTrainingAloneAndRepeats) {
  ClassifierShape shape = small_shape(Pool::kMean);
  shape.encoder.drop_path = 0.5;
  ClassifierObjective objective(shape, {}, PixelNormalisation({0.5}, {0.5}), at::TensorOptions());
  objective.initialise(1);
  const at::NoGradGuard no_grad;
  at::Tensor& head = objective.network().head->weight;
  head.copy_(at::arange(head.numel(), at::kFloat).view(head.sizes()).sin());
  const Batch batch = make_batch(objective, 16);
  EXPECT_EQ(loss_of(objective, batch, true), loss_of(objective, batch, true));
  EXPECT_NE(loss_of(objective, batch, true), loss_of(objective, batch, false));
}

class Probe : public testing::Test {
 protected:
  static ClassifierShape shape() {
    ClassifierShape shape = small_shape(Pool::kCls);
    shape.is_probe = true;
    return shape;
  }
  Probe() : objective_(shape(), {}, PixelNormalisation({0.5}, {0.5}), at::TensorOptions()) {
    objective_.initialise(1);
  }
  ClassifierObjective objective_;
};

TEST_F(Probe, TrainsTheHeadAloneAndKeepsTheEncoderInItsBuffers) {
  const std::vector<Parameter> parameters = objective_.parameters(0);
  ASSERT_EQ(parameters.size(), 2u);
  EXPECT_EQ(parameters[0].name, "head.weight");
  const Batch batch = make_batch(objective_, 10);
  objective_.loss(batch, StepContext{.is_training = true}, 0)->value.backward();
  EXPECT_TRUE(objective_.network().head->weight.grad().defined());
  EXPECT_FALSE(objective_.network().cls_token.grad().defined());
  std::set<std::string> names;
  for (const Buffer& buffer : objective_.buffers()) names.insert(buffer.name);
  EXPECT_TRUE(names.contains("blocks.1.mlp.fc2.weight") && names.contains("feature_mean"));
  EXPECT_EQ(names.size() + 2, named_tensors(objective_.module()).size());
}

TEST_F(Probe, StandardisesAsABatchNormWithoutAffinePart) {
  const Batch batch = make_batch(objective_, 10);
  torch::nn::BatchNorm1d norm(
      torch::nn::BatchNorm1dOptions(objective_.network().shape.dim).affine(false).eps(1e-6));
  const at::NoGradGuard no_grad;
  const at::Tensor features = objective_.features(batch, "cls");
  const auto loss_after = [&](const at::Tensor& x) {
    const at::Tensor logits = objective_.network().head->forward(x);
    return at::cross_entropy_loss(logits, batch.at("label").to(at::kLong)).item<double>();
  };
  EXPECT_NEAR(loss_of(objective_, batch, true), loss_after(norm->forward(features)), 1e-5);
  objective_.after_step({}, objective_.sums(0), {});
  EXPECT_TRUE(at::allclose(objective_.network().feature_mean, norm->running_mean, 0, 1e-6));
  EXPECT_TRUE(at::allclose(objective_.network().feature_var, norm->running_var, 1e-4, 1e-6));
  norm->eval();
  EXPECT_NEAR(loss_of(objective_, batch, false), loss_after(norm->forward(features)), 1e-5);
}

TEST(Mixing, BetaHasTheRightMeanAndVariance) {
  for (const double alpha : {0.8, 1.0}) {
    constexpr int kCount = 20'000;
    double sum = 0, squares = 0;
    for (int i = 0; i < kCount; ++i) {
      const double x = draw_beta(alpha, Philox(1, Purpose::kMixup, i), 4);
      sum += x;
      squares += x * x;
    }
    const double mean = sum / kCount, variance = squares / kCount - mean * mean;
    EXPECT_NEAR(mean, 0.5, 0.01);
    EXPECT_NEAR(variance, 1 / (4 * (2 * alpha + 1)), 0.002);
  }
}

TEST(Mixing, ShareIsTheAreaOutsideTheBox) {
  for (std::int64_t position = 0; position < 50; ++position) {
    const Mixing mixing =
        draw_mixing({.mixup = 0.0, .cutmix = 1.0}, Philox(2, Purpose::kMixup, position), 12, 20);
    const at::Tensor first = at::zeros({1, 12, 20, 1}), second = at::ones({1, 12, 20, 1});
    const at::Tensor mixed = mixing.images(at::cat({first, second}));
    EXPECT_NEAR(mixed[0].mean().item<double>(), 1.0 - mixing.share, 1e-6);
  }
}

TEST(Mixing, MixesWithTheReverseOrder) {
  const Mixing mixing{.share = 0.75};
  const at::Tensor mixed = mixing.targets(at::eye(2));
  EXPECT_TRUE(mixed.equal(at::tensor({0.75, 0.25, 0.25, 0.75}).view({2, 2})));
}

TEST(Mixing, IsOffByDefault) {
  EXPECT_EQ(draw_mixing({}, Philox(2, Purpose::kMixup, 0), 8, 8).share, 1.0);
}

}  // namespace
}  // namespace kiln
