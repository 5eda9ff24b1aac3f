// Each rule by hand, and against LibTorch's where it has one.

#include "core/optimizer/optimizer_rules.h"

#include <gtest/gtest.h>
#include <torch/optim/adam.h>
#include <torch/optim/rmsprop.h>

#include "core/optimizer/optimizer.h"
#include "core/torch.h"
#include "tests/support/flat_model.h"

namespace kiln {
namespace {

double first_step(const std::string& name, double eps, double decay) {
  OptimizerOptions options;
  options.name = name;
  options.eps = eps;
  options.weight_decay = decay;
  const Optimizer optimizer(options);
  FlatModel model({{.name = "p", .tensor = leaf(at::ones({1}))}}, optimizer);
  model.parameters[0].tensor.mutable_grad().fill_(0.1f);
  model.step(optimizer, {.lr = 1e-4});
  return model.parameters[0].tensor.item<double>();
}

TEST(BertAdam, FirstStepHasNoBiasCorrection) {
  // p = 1, g = 0.1: u = 0.01 / (sqrt(1e-5) + 1e-6) + 0.01
  EXPECT_NEAR(first_step("bert_adam", 1e-6, 0.01), 0.9996828722, 6e-8);  // half a unit of fp32 at 1
  EXPECT_NEAR(first_step("adamw", 1e-6, 0.01), 0.9998990010, 6e-8);
}

// p, g, lr and the expected numbers are worked out by hand from the equation in the rule.
TEST(Lars, TwoStepsByHand) {
  OptimizerOptions options;
  options.name = "lars";
  options.momentum = 0.5;
  options.trust_coefficient = 0.25;
  const Optimizer optimizer(options);
  FlatModel model({{.name = "w", .tensor = leaf(at::tensor({3.0f, 4.0f}))},
                   {.name = "b", .tensor = leaf(at::tensor({1.0f})), .has_decay = false}},
                  optimizer);
  model.parameters[0].tensor.mutable_grad().copy_(at::tensor({0.0f, 2.0f}));
  model.parameters[1].tensor.mutable_grad().fill_(1.0f);
  model.step(optimizer, {.lr = 0.5});  // r = 0.25 * 5 / 2 = 0.625; m = (0, 1.25)
  EXPECT_EQ(model.parameters[0].tensor[1].item<float>(), 4.0f - 0.625f);
  EXPECT_EQ(model.parameters[1].tensor.item<float>(), 0.5f);
  model.parameters[0].tensor.mutable_grad().zero_();  // direction 0: r = 1, m = (0, 0.625)
  model.step(optimizer, {.lr = 0.5, .update = 2});
  EXPECT_EQ(model.parameters[0].tensor[0].item<float>(), 3.0f);
  EXPECT_EQ(model.parameters[0].tensor[1].item<float>(), 3.375f - 0.3125f);
  EXPECT_EQ(model.parameters[1].tensor.item<float>(), 0.5f - 0.5f * 1.5f);
}

// SimCLR's form: the rate is in the buffer, so a change of it does not reach what is there already.
TEST(Lars, KeepsTheRateInTheMomentumWhereAsked) {
  OptimizerOptions options;
  options.name = "lars";
  options.momentum = 0.5;
  options.trust_coefficient = 0.25;
  options.rate_in_momentum = true;
  const Optimizer optimizer(options);
  FlatModel model({{.name = "w", .tensor = leaf(at::tensor({3.0f, 4.0f}))},
                   {.name = "b", .tensor = leaf(at::tensor({1.0f})), .has_decay = false}},
                  optimizer);
  model.parameters[0].tensor.mutable_grad().copy_(at::tensor({0.0f, 2.0f}));
  model.parameters[1].tensor.mutable_grad().fill_(1.0f);
  model.step(optimizer, {.lr = 0.5});  // r = 0.625; m = (0, 0.625), 0.5
  EXPECT_EQ(model.parameters[0].tensor[1].item<float>(), 4.0f - 0.625f);
  EXPECT_EQ(model.parameters[1].tensor.item<float>(), 0.5f);
  for (auto& parameter : model.parameters) parameter.tensor.mutable_grad().zero_();
  model.step(optimizer, {.lr = 100.0, .update = 2});  // m halves, and nothing comes to it
  EXPECT_EQ(model.parameters[0].tensor[1].item<float>(), 3.375f - 0.3125f);
  EXPECT_EQ(model.parameters[1].tensor.item<float>(), 0.5f - 0.25f);
}

TEST(Larc, AdaptsEveryEntryByBothNorms) {
  OptimizerOptions options;
  options.name = "larc";
  options.momentum = 0.5;
  options.trust_coefficient = 0.5;
  options.weight_decay = 0.25;
  options.eps = 0.75;
  const Optimizer optimizer(options);
  FlatModel model({{.name = "w", .tensor = leaf(at::tensor({3.0f, 4.0f}))},
                   {.name = "b", .tensor = leaf(at::tensor({2.0f})), .has_decay = false},
                   {.name = "zero", .tensor = leaf(at::tensor({0.0f}))},
                   {.name = "still", .tensor = leaf(at::tensor({8.0f}))}},
                  optimizer);
  model.parameters[0].tensor.mutable_grad().copy_(at::tensor({0.0f, 3.0f}));
  model.parameters[1].tensor.mutable_grad().fill_(0.25f);
  model.parameters[2].tensor.mutable_grad().fill_(1.0f);
  model.step(optimizer, {.lr = 1.0});
  // w: r = 0.5 * 5 / (3 + 0.25 * 5 + 0.75) = 0.5; d = g + 0.25 w = (0.75, 4)
  EXPECT_EQ(model.parameters[0].tensor[0].item<float>(), 3.0f - 0.375f);
  EXPECT_EQ(model.parameters[0].tensor[1].item<float>(), 4.0f - 2.0f);
  // b: r = 0.5 * 2 / (0.25 + 0.75) = 1
  EXPECT_EQ(model.parameters[1].tensor.item<float>(), 2.0f - 0.25f);
  EXPECT_EQ(model.parameters[2].tensor.item<float>(), -1.0f) << "no norm: plain SGD";
  EXPECT_EQ(model.parameters[3].tensor.item<float>(), 8.0f) << "no gradient: no decay either";
}

// The same parameters and gradients through LibTorch's optimizer and ours.
template <typename TorchOptimizer, typename TorchOptions>
void expect_as_in_torch(const OptimizerOptions& options, TorchOptions torch_options) {
  const Optimizer optimizer(options);
  std::vector<Parameter> parameters = some_parameters();
  for (Parameter& parameter : parameters) parameter.has_decay = true;
  for (Parameter& parameter : parameters) parameter.lr_scale = 1.0;
  FlatModel model(parameters, optimizer);
  std::vector<at::Tensor> copies;
  for (const auto& parameter : model.parameters) copies.push_back(leaf(parameter.tensor.detach()));
  TorchOptimizer reference(copies, torch_options);
  for (int step = 1; step <= 5; ++step) {
    set_gradients(model, step);
    for (std::size_t i = 0; i < copies.size(); ++i) {
      copies[i].mutable_grad() = model.parameters[i].tensor.grad().clone();
    }
    model.step(optimizer, {.lr = 0.01, .update = step});
    reference.step();
    for (std::size_t i = 0; i < copies.size(); ++i) {
      EXPECT_TRUE(torch::allclose(model.parameters[i].tensor, copies[i], 1e-6, 1e-6))
          << options.name << " p" << i << " after step " << step;
    }
  }
}

TEST(Adam, IsLibTorchsWithL2Decay) {
  expect_as_in_torch<torch::optim::Adam>(
      {.name = "adam", .betas = {0.5, 0.99}, .eps = 1e-6, .weight_decay = 0.1},
      torch::optim::AdamOptions(0.01).betas({0.5, 0.99}).eps(1e-6).weight_decay(0.1));
}

TEST(Rmsprop, IsLibTorchs) {
  expect_as_in_torch<torch::optim::RMSprop>(
      {.name = "rmsprop", .betas = {0.0, 0.98}, .eps = 1e-2, .weight_decay = 0.1},
      torch::optim::RMSpropOptions(0.01).alpha(0.98).eps(1e-2).weight_decay(0.1));
}

// g = 1, then -4: m = 0.5, -1.75; v = max(|g|, 0.5 v) = 1, 4.
TEST(Adamax, TwoStepsByHand) {
  const Optimizer optimizer({.name = "adamax", .betas = {0.5, 0.5}, .eps = 0.0});
  FlatModel model({{.name = "p", .tensor = leaf(at::tensor({1.0f}))}}, optimizer);
  model.parameters[0].tensor.mutable_grad().fill_(1.0f);
  model.step(optimizer, {.lr = 0.25});  // 0.25 / (1 - 0.5) * 0.5 / 1
  EXPECT_EQ(model.parameters[0].tensor.item<float>(), 0.75f);
  model.parameters[0].tensor.mutable_grad().fill_(-4.0f);
  model.step(optimizer, {.lr = 0.375, .update = 2});  // 0.375 / (1 - 0.25) * -1.75 / 4
  EXPECT_EQ(model.parameters[0].tensor.item<float>(), 0.75f + 0.5f * 0.4375f);
}

}  // namespace
}  // namespace kiln
