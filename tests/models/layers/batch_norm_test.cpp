#include "models/layers/batch_norm.h"

#include <gtest/gtest.h>

#include "core/base/error.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

/// Two batch norms, one after the other.
struct Pair : torch::nn::Module {
  Pair() {
    first = register_module("first", std::make_shared<BatchNorm>(3, at::kDouble));
    second = register_module("second", std::make_shared<BatchNorm>(3, at::kDouble));
    for (const auto& layer : {first, second}) {
      at::Tensor(layer->weight.data()).fill_(1.5);
      at::Tensor(layer->bias.data()).fill_(0.5);
    }
  }
  at::Tensor forward(const at::Tensor& x, BatchNormMode mode) {
    return second->forward(first->forward(x, mode) * 2.0, mode);
  }
  std::shared_ptr<BatchNorm> first, second;
};

at::Tensor samples(std::int64_t number) { return normal({4, 3, 2, 2}, number, at::kDouble) + 2.0; }

struct Moments {
  at::Tensor mean, variance;
};
Moments moments_of(const at::Tensor& x) {
  const at::Tensor rows = x.transpose(0, 1).flatten(1);
  return {rows.mean(1), rows.var(1)};
}

// The mean over micro-batches of what each saw; the first layer's input is known.
TEST(BatchNorm, RunningStatisticsMoveOnceAStepByTheMeanOverMicroBatches) {
  Pair network;
  BatchNorms norms(network);
  Sums total = norms.sums();
  for (const std::int64_t number : {1, 2}) {
    norms.begin();
    network.forward(samples(number), BatchNormMode::kTraining);
    for (const auto& [name, sum] : norms.sums()) total.at(name) += sum;
  }
  EXPECT_TRUE(at::equal(network.first->running_mean, at::zeros({3}, at::kDouble)));
  norms.move(total);
  const Moments a = moments_of(samples(1)), b = moments_of(samples(2));
  EXPECT_TRUE(at::allclose(network.first->running_mean, (a.mean + b.mean) * 0.05, 1e-12, 1e-12));
  EXPECT_TRUE(at::allclose(network.first->running_var, 0.9 + (a.variance + b.variance) * 0.05,
                           1e-12, 1e-12));
  EXPECT_EQ(network.first->num_batches_tracked.item<std::int64_t>(), 1);
}

TEST(BatchNorm, EachPassOfAMicroBatchMovesThemInOrder) {
  Pair network;
  BatchNorms norms(network, 2);
  norms.begin();
  network.forward(samples(1), BatchNormMode::kTraining);
  network.forward(samples(2), BatchNormMode::kTraining);
  norms.move(norms.sums());
  const at::Tensor once = moments_of(samples(1)).mean * 0.1;
  EXPECT_TRUE(at::allclose(network.first->running_mean,
                           once * 0.9 + moments_of(samples(2)).mean * 0.1, 1e-12, 1e-12));
  EXPECT_EQ(network.first->num_batches_tracked.item<std::int64_t>(), 2);
}

TEST(BatchNorm, EvaluationNormalisesByRunningStatistics) {
  Pair network;
  network.first->running_mean.fill_(2.0);
  network.first->running_var.fill_(4.0);
  const at::Tensor x = samples(3);
  const at::Tensor expected = (x - 2.0) / std::sqrt(4.0 + 1e-5) * 1.5 + 0.5;
  EXPECT_TRUE(
      at::allclose(network.first->forward(x, BatchNormMode::kEvaluation), expected, 1e-12, 1e-12));
  EXPECT_TRUE(network.first->seen.empty());
}

TEST(BatchNorm, RefusesOneValueAChannel) {
  BatchNorm norm(3, at::kFloat);
  EXPECT_THROW(norm.forward(at::ones({1, 3}), BatchNormMode::kTraining), Error);
}

TEST(BatchNorm, GroupsHaveStatisticsOfTheirOwnAndMakeOnePass) {
  Pair network;
  BatchNorms norms(network);
  norms.begin();
  const at::Tensor x = samples(1);
  const at::Tensor y = network.first->forward_groups(x, BatchNormMode::kTraining, 2);
  network.second->forward(y, BatchNormMode::kTraining);
  norms.move(norms.sums());
  at::Tensor mean = at::zeros({3}, at::kDouble), variance = at::zeros({3}, at::kDouble);
  for (const std::int64_t first : {0, 2}) {
    const at::Tensor group = x.narrow(0, first, 2);
    const Moments moments = moments_of(group);
    const at::Tensor biased = moments.variance * (7.0 / 8.0);  // 2 samples of 2 x 2 pixels
    const at::Tensor expected = (group - moments.mean.view({1, 3, 1, 1})) /
                                    (biased.view({1, 3, 1, 1}) + 1e-5).sqrt() * 1.5 +
                                0.5;
    EXPECT_TRUE(at::allclose(y.narrow(0, first, 2), expected, 1e-12, 1e-12));
    mean += moments.mean / 2;
    variance += moments.variance / 2;
  }
  EXPECT_TRUE(at::allclose(network.first->running_mean, mean * 0.1, 1e-12, 1e-12));
  EXPECT_TRUE(at::allclose(network.first->running_var, 0.9 + variance * 0.1, 1e-12, 1e-12));
  EXPECT_EQ(network.first->num_batches_tracked.item<std::int64_t>(), 1);
}

}  // namespace
}  // namespace kiln
