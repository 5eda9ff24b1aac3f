#include "models/gpt/image_gpt.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kSide = 5, kLevels = 8;

ImageGptShape small_shape(ImageGptTask task) {
  ImageGptShape shape;
  shape.gpt.vocab_size = kLevels + 1;
  shape.gpt.num_outputs = kLevels;
  shape.gpt.max_positions = kSide * kSide;
  shape.gpt.dim = 16;
  shape.gpt.depth = 2;
  shape.gpt.heads = 2;
  shape.height = shape.width = kSide;
  shape.task = task;
  shape.mask_share = 0.3;
  return shape;
}

/// `count` pictures from position `first` on.
Batch pictures(std::int64_t first, std::int64_t count) {
  const at::Tensor all =
      at::randint(256, {8, kSide, kSide, 1}, at::detail::createCPUGenerator(3), at::kByte);
  Batch batch;
  batch.first_position = first;
  batch.num_samples = count;
  batch.tensors["image"] = all.narrow(0, first, count);
  return batch;
}

std::unique_ptr<ImageGptObjective> trained_a_little(ImageGptTask task) {
  auto objective =
      std::make_unique<ImageGptObjective>(small_shape(task), at::TensorOptions(at::kDouble));
  objective->initialise(1);
  const at::NoGradGuard no_grad;
  objective->network().head->weight.normal_(0.0, 0.5, at::detail::createCPUGenerator(4));
  return objective;
}

double loss_of(ImageGptObjective& objective, Batch batch, double denominator = 0.0) {
  objective.prepare(batch, 9);
  if (denominator > 0.0) batch.denominators.begin()->second = denominator;
  return objective.loss(batch, StepContext{.is_training = false}, 0)->value.item<double>();
}

TEST(ImageGpt, LevelsAreEqualPartsOfTheGreyValues) {
  const at::Tensor values = at::tensor({0, 31, 32, 128, 255}, at::kByte).view({1, 1, 5, 1});
  const at::Tensor tokens = grey_tokens(values, kLevels);
  EXPECT_TRUE(at::equal(tokens, at::tensor({0, 0, 1, 4, 7}, at::kLong).view({1, 5})));
  EXPECT_TRUE(at::equal(grey_pictures(tokens, kLevels, 1, 5),
                        at::tensor({16, 16, 48, 144, 240}, at::kByte).view({1, 1, 5, 1})));
  for (const std::int64_t levels : {2, 7, 16, 256}) {  // out and in again is the identity
    const at::Tensor all = at::arange(levels, at::kLong).view({1, levels});
    EXPECT_TRUE(at::equal(grey_tokens(grey_pictures(all, levels, 1, levels), levels), all));
  }
}

TEST(ImageGpt, KnowsNothingAtFirst) {
  for (const ImageGptTask task : {ImageGptTask::kNext, ImageGptTask::kMasked}) {
    ImageGptObjective objective(small_shape(task), at::TensorOptions(at::kDouble));
    objective.initialise(1);  // the head is zero
    EXPECT_NEAR(loss_of(objective, pictures(0, 8)), std::log(kLevels), 1e-12);
  }
}

TEST(ImageGpt, LossesOfMicroBatchesAddUp) {
  for (const ImageGptTask task : {ImageGptTask::kNext, ImageGptTask::kMasked}) {
    const auto objective = trained_a_little(task);
    const double all = task == ImageGptTask::kNext ? 8.0 * kSide * kSide : 8.0;
    EXPECT_NEAR(loss_of(*objective, pictures(0, 3), all) + loss_of(*objective, pictures(3, 5), all),
                loss_of(*objective, pictures(0, 8)), 1e-12);
  }
}

TEST(ImageGpt, BitsAreThoseOfTheLoss) {
  const auto objective = trained_a_little(ImageGptTask::kNext);
  const auto bits = objective->bits(pictures(0, 8), 9);
  EXPECT_EQ(bits.total.sizes(), (std::vector<std::int64_t>{8}));
  const double nats = loss_of(*objective, pictures(0, 8));  // a token
  EXPECT_NEAR(bits.total.mean().item<double>(), nats * kSide * kSide / std::numbers::ln2, 1e-9);
  EXPECT_NEAR(bits.others.at("nats_per_token").mean().item<double>(), nats, 1e-12);
}

// 8 pictures of 25 tokens a seed, 100 seeds: within four standard deviations of the share.
TEST(ImageGpt, MasksTheShareAskedForByPosition) {
  const auto objective = trained_a_little(ImageGptTask::kMasked);
  const auto masked = [&](std::int64_t first, std::int64_t count, std::uint64_t seed) {
    Batch batch = pictures(first, count);
    objective->prepare(batch, seed);
    return batch.at("masked");
  };
  std::int64_t number = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed)
    number += masked(0, 8, seed).sum().item<std::int64_t>();
  const double tokens = 100.0 * 8 * kSide * kSide;
  EXPECT_NEAR(static_cast<double>(number), 0.3 * tokens, 4 * std::sqrt(0.21 * tokens));
  EXPECT_TRUE(at::equal(masked(0, 8, 9).narrow(0, 3, 2), masked(3, 2, 9)));
}

TEST(ImageGpt, FeaturesAreAsWideAsTheNetwork) {
  for (const ImageGptTask task : {ImageGptTask::kNext, ImageGptTask::kMasked}) {
    const auto objective = trained_a_little(task);
    const at::Tensor features = objective->features(pictures(0, 8), "mean");
    EXPECT_EQ(features.sizes(), (std::vector<std::int64_t>{8, 16}));
    EXPECT_EQ(features.scalar_type(), at::kFloat);
    EXPECT_GT(features.std(0).min().item<double>(), 0.0);
  }
}

}  // namespace
}  // namespace kiln
