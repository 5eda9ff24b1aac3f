#include "models/resnet/resnet.h"

#include <gtest/gtest.h>

#include <map>

#include "core/base/error.h"
#include "models/interchange/huggingface.h"
#include "models/layers/parameters.h"
#include "models/resnet/resnet_classifier.h"
#include "tests/support/normal.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

std::unique_ptr<ResNetObjective> small(at::ScalarType type = at::kFloat,
                                       const ResNetLoss& loss = {}) {
  ResNetShape shape;
  shape.channels = 1;
  shape.stem_width = 8;
  shape.widths = {32, 64};
  shape.depths = {1, 2};
  auto objective = std::make_unique<ResNetObjective>(
      shape, 5, loss, PixelNormalisation({0.5}, {0.25}), at::TensorOptions(type));
  objective->initialise(1);
  return objective;
}

Batch make_batch(const Objective& objective, std::int64_t count) {
  Batch batch;
  batch.num_samples = count;
  batch.tensors["image"] = (normal({count, 32, 32, 1}, 1) * 60 + 128).clamp(0, 255).to(at::kByte);
  batch.tensors["label"] = at::arange(count, at::kLong).remainder(5);
  objective.prepare(batch, 3);
  return batch;
}

// With 1,000 classes, as published with torchvision's weights.
TEST(ResNet, HasThePublishedNumbersOfParameters) {
  const std::map<std::int64_t, std::int64_t> published = {
      {18, 11'689'512}, {34, 21'797'672}, {50, 25'557'032}, {101, 44'549'160}, {152, 60'192'808}};
  for (const auto& [layers, count] : published) {
    const ResNetClassifier network(resnet_shape(layers, 1.0), 1000, at::kMeta);
    std::int64_t sum = 0;
    for (const at::Tensor& tensor : network.parameters()) sum += tensor.numel();
    EXPECT_EQ(sum, count) << layers;
  }
  EXPECT_EQ(resnet_shape(50, 2.0).dim(), 4096);
  EXPECT_THROW(resnet_shape(51, 1.0), Error);
}

// With a last gamma of zero nothing but the shortcuts passes through.
TEST(ResNet, BlocksStartAsTheIdentity) {
  const auto objective = small();
  const auto& block = objective->network().stages[1][1];  // without a convolution around it
  const at::Tensor x = normal({2, 64, 4, 4}, 1).relu();
  EXPECT_TRUE(at::equal(block->forward(x, BatchNormMode::kTraining), x));
}

TEST(ResNet, LearnsAndMovesItsStatisticsAfterTheStep) {
  const auto objective = small();
  const Batch batch = make_batch(*objective, 10);
  const StepContext context;
  constexpr int kSteps = 40;
  double first = 0.0, last = 0.0;
  for (int step = 0; step < kSteps; ++step) {
    objective->module().zero_grad();
    const at::Tensor loss = objective->loss(batch, context, 0)->value;
    loss.backward();
    const at::NoGradGuard no_grad;
    for (at::Tensor tensor : objective->module().parameters()) tensor -= tensor.grad() * 0.1;
    objective->after_step(context, objective->sums(0), {});
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  EXPECT_LT(last, 0.5 * first);
  const auto& norm = *objective->network().bn1;
  EXPECT_EQ(norm.num_batches_tracked.item<std::int64_t>(), kSteps);
  EXPECT_GT(norm.running_var.sub(1.0).abs().max().item<double>(), 0.1);
  // Evaluation follows training: the same samples are still told apart.
  const at::Tensor answers = objective->scores(batch).argmax(1);
  EXPECT_GE(answers.eq(batch.at("label")).sum().item<std::int64_t>(), 8);
}

TEST(ResNet, InBf16FollowsFp32) {
  const auto wide = small(), narrow = small(at::kBFloat16);
  const Batch batch = make_batch(*wide, 10);
  const double a = wide->loss(batch, {}, 0)->value.item<double>();
  const double b = narrow->loss(batch, {}, 0)->value.item<double>();
  EXPECT_NEAR(a, b, 0.05 * a);
}

TEST(ResNet, RoundTripThroughTheHubsLayoutIsExact) {
  const TemporaryFolder folder;
  const auto objective = small();
  objective->loss(make_batch(*objective, 10), {}, 0);
  objective->after_step({}, objective->sums(0), {});
  export_huggingface(*objective, folder.path() / "out");
  const ImportedModel again = import_huggingface(folder.path() / "out");
  const NamedTensors expected = named_tensors(objective->module());
  const NamedTensors got = named_tensors(again.objective->module());
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(at::equal(got.at(name), tensor)) << name;
}

}  // namespace
}  // namespace kiln
