#include "core/optimizer/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/base/error.h"
#include "core/optimizer/optimizer_tensors.h"
#include "core/torch.h"
#include "tests/support/flat_model.h"

namespace kiln {
namespace {

OptimizerOptions options_named(const std::string& name) {
  OptimizerOptions options;
  options.name = name;
  options.weight_decay = 0.05;
  return options;
}

const std::vector<std::string> kAllNames = Optimizer::names();

TEST(Optimizer, KeepsBoundsAndLeavesFrozenEntriesAlone) {
  for (const std::string& name : kAllNames) {
    for (const auto path : {Optimizer::Path::kByDevice, Optimizer::Path::kTensors}) {
      const Optimizer optimizer(options_named(name), path);
      std::vector<Parameter> parameters = some_parameters(at::kBFloat16);
      parameters[0].bound = 0.125;
      FlatModel model(parameters, optimizer, true);
      std::vector<at::Tensor> before;
      for (const auto& parameter : model.parameters) before.push_back(parameter.tensor.clone());
      set_gradients(model, 1);
      // Entries are in reverse order: p4, p3, p2, p1, p0.
      const std::vector<std::int64_t> updates = {3, 0, 3, 0, 3};
      model.step(optimizer, {.lr = 0.01, .update = 3, .updates = updates, .ema_decay = 0.5});
      EXPECT_EQ(model.parameters[0].tensor.abs().max().item<double>(), 0.125) << name;
      EXPECT_FALSE(torch::equal(model.parameters[2].tensor, before[2])) << name;
      EXPECT_TRUE(torch::equal(model.parameters[1].tensor, before[1])) << name;
      EXPECT_TRUE(torch::equal(model.parameters[3].tensor, before[3])) << name;
    }
  }
}

TEST(Optimizer, TakesAScaleOfTheGradientPerEntry) {
  const Optimizer optimizer({.name = "sgd", .momentum = 0.0});
  FlatModel model({{.name = "a", .tensor = leaf(at::zeros({2}))},
                   {.name = "b", .tensor = leaf(at::zeros({2}))}},
                  optimizer);
  for (auto& parameter : model.parameters) parameter.tensor.mutable_grad().fill_(1.0f);
  const std::vector<double> scales = {0.25, 0.5};  // of b, of a
  const at::Tensor gradients = model.flat.gradients(model.slices[0].range).clone();
  optimizer.step(model.slices[0], gradients, model.flat, {.lr = 1.0, .gradient_scales = scales},
                 {});
  EXPECT_EQ(model.parameters[0].tensor[0].item<float>(), -0.5f);
  EXPECT_EQ(model.parameters[1].tensor[0].item<float>(), -0.25f);
}

TEST(Optimizer, TakesAWeightDecayOfTheStep) {
  const Optimizer optimizer({.name = "adamw", .weight_decay = 0.5});
  FlatModel model({{.name = "p", .tensor = leaf(at::ones({1}))}}, optimizer);
  model.parameters[0].tensor.mutable_grad().zero_();
  model.step(optimizer, {.lr = 0.5, .weight_decay = 0.25});
  EXPECT_EQ(model.parameters[0].tensor.item<float>(), 1.0f - 0.125f);
}

// ---- what the engine relies on

std::vector<at::Tensor> after_three_steps(const std::string& name, std::int64_t bucket_bytes,
                                          int ranks) {
  const Optimizer optimizer(options_named(name));
  FlatModel model(some_parameters(), optimizer, true, bucket_bytes, ranks);
  for (int step = 1; step <= 3; ++step) {
    set_gradients(model, step);
    model.step(optimizer, {.lr = 0.01, .update = step, .ema_decay = 0.9}, 1.0);
  }
  std::vector<at::Tensor> tensors;
  for (const auto& parameter : model.parameters) tensors.push_back(parameter.tensor.detach());
  return tensors;
}

TEST(Optimizer, GivesTheSameBitsForAnyBucketsSlicesAndThreads) {
  const int threads = at::get_num_threads();
  for (const std::string& name : kAllNames) {
    at::set_num_threads(1);
    const auto expected = after_three_steps(name, 1 << 30, 1);
    at::set_num_threads(3);
    for (const auto& [bucket_bytes, ranks] : {std::pair{1, 1}, {1 << 17, 3}, {1 << 30, 2}}) {
      const auto actual = after_three_steps(name, bucket_bytes, ranks);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_TRUE(torch::equal(actual[i], expected[i])) << name << " p" << i;
      }
    }
  }
  at::set_num_threads(threads);
}

// What two models keep, on the host. Tolerances: a square root may be rounded otherwise, and norms
// are added in another order.
void expect_same(const FlatModel& first, const FlatModel& second, const std::string& name) {
  const double bound = name == "sgd" ? 0.0 : 1e-6;
  const auto are_close = [](const at::Tensor& a, const at::Tensor& b, double rtol, double atol) {
    return torch::allclose(a.cpu(), b.cpu(), rtol, atol);
  };
  for (std::size_t i = 0; i < first.slices.size(); ++i) {
    const Slice& a = first.slices[i];
    const Slice& b = second.slices[i];
    EXPECT_TRUE(are_close(a.master, b.master, bound, bound)) << name;
    EXPECT_TRUE(are_close(a.ema, b.ema, bound, bound)) << name;
    EXPECT_TRUE(are_close(a.weights, b.weights, bound == 0.0 ? 0.0 : 0x1p-7, bound)) << name;
    for (std::size_t k = 0; k < a.moments.size(); ++k) {
      EXPECT_TRUE(are_close(a.moments[k], b.moments[k], bound, bound)) << name;
    }
  }
}

void expect_same_updates(const std::string& name, FlatModel first, const Optimizer& first_optimizer,
                         FlatModel second, const Optimizer& second_optimizer) {
  for (int step = 1; step <= 3; ++step) {
    const StepScalars scalars{.lr = 0.01, .update = step, .ema_decay = 0.9};
    set_gradients(first, step);
    set_gradients(second, step);
    first.step(first_optimizer, scalars, 1.0);
    second.step(second_optimizer, scalars, 1.0);
  }
  expect_same(first, second, name);
}

// The plain tensor operations are the specification of the fused loops.
TEST(Optimizer, LoopsDoWhatTensorOperationsDo) {
  for (const std::string& name : kAllNames) {
    for (const auto precision : {at::kFloat, at::kBFloat16}) {
      const Optimizer loops(options_named(name));
      const Optimizer tensors(options_named(name), Optimizer::Path::kTensors);
      expect_same_updates(name, FlatModel(some_parameters(precision), loops, true, 1 << 16, 2),
                          loops, FlatModel(some_parameters(precision), tensors, true, 1 << 16, 2),
                          tensors);
    }
  }
}

TEST(Optimizer, KernelsOfAGpuDoWhatLoopsDo) {
  if (!torch::cuda::is_available()) {
    GTEST_SKIP() << "no GPU: none visible, no driver, or a build without CUDA";
  }
  for (const std::string& name : kAllNames) {
    for (const auto precision : {at::kFloat, at::kBFloat16}) {
      const Optimizer rule(options_named(name));
      expect_same_updates(
          name, FlatModel(some_parameters(precision), rule, true, 1 << 16, 2), rule,
          FlatModel(some_parameters(precision, {at::kCUDA, 0}), rule, true, 1 << 16, 2), rule);
    }
  }
}

TEST(BlockSums, OfTensorsAreThoseOfLoops) {
  const Optimizer optimizer(options_named("sgd"));
  FlatModel model(some_parameters(), optimizer, false, 1 << 16, 2);
  set_gradients(model, 1);
  BlockSums loops(model.flat, 1), tensors(model.flat, 1);
  for (const Slice& slice : model.slices) {
    add_squares(slice, model.flat.gradients(slice.range), loops);
    add_squares_of_tensors(slice, model.flat.gradients(slice.range), tensors);
  }
  EXPECT_TRUE(torch::allclose(loops.table(), tensors.table(), 1e-13, 0.0));
}

TEST(Optimizer, Bfloat16WeightsAreRoundedMasters) {
  for (const std::string& name : kAllNames) {
    const Optimizer optimizer(options_named(name));
    FlatModel model(some_parameters(at::kBFloat16), optimizer);
    const at::Tensor before = model.slices[0].master.clone();
    set_gradients(model, 1);
    model.step(optimizer, {.lr = 0.01});
    for (const Slice& slice : model.slices) {
      EXPECT_TRUE(torch::equal(slice.weights, slice.master.to(at::kBFloat16))) << name;
    }
    EXPECT_FALSE(torch::equal(model.slices[0].master, before)) << name;
  }
}

TEST(Optimizer, RoundsToBfloat16AsAtenDoes) {
  std::vector<float> values = {0.0f,    -0.0f,  1.0f,     1.00390625f, 1.01171875f,
                               3.4e38f, 1e-40f, INFINITY, -INFINITY};
  for (std::uint32_t i = 0; i < 4096; ++i) {
    values.push_back(std::bit_cast<float>(0x3f800000u + i * 0x0801u));
  }
  std::vector<std::uint16_t> rounded(values.size());
  round_to_bf16(values.data(), rounded.data(), static_cast<std::int64_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(rounded[i], c10::BFloat16(values[i]).x) << values[i];
  }
  const float nan = NAN;
  round_to_bf16(&nan, rounded.data(), 1);
  EXPECT_EQ(rounded[0], 0x7fc0);
}

TEST(Optimizer, UpdatesMovingAverageInTheSamePass) {
  const Optimizer optimizer(options_named("adamw"));
  FlatModel model(some_parameters(), optimizer, true);
  set_gradients(model, 1);
  const at::Tensor before = model.slices[0].ema.clone();
  model.step(optimizer, {.lr = 0.01, .ema_decay = 0.75});
  const at::Tensor expected = before + 0.25 * (model.slices[0].master - before);
  EXPECT_TRUE(torch::equal(model.slices[0].ema, expected));
}

TEST(Optimizer, LeavesPaddingAtZero) {
  for (const std::string& name : kAllNames) {
    const Optimizer optimizer(options_named(name));
    FlatModel model(some_parameters(), optimizer);
    set_gradients(model, 1);
    model.step(optimizer, {.lr = 0.01});
    std::int64_t inside = 0;
    for (const auto& parameter : model.parameters) {
      inside += parameter.tensor.detach().ne(0).sum().item<std::int64_t>();
    }
    std::int64_t all = 0;
    for (const Slice& slice : model.slices) all += slice.weights.ne(0).sum().item<std::int64_t>();
    EXPECT_EQ(all, inside) << name;
  }
}

TEST(Optimizer, ScalesLearningRatePerEntry) {
  const Optimizer optimizer(options_named("sgd"));
  FlatModel model({{.name = "a", .tensor = leaf(at::zeros({2}))},
                   {.name = "b", .tensor = leaf(at::zeros({2})), .lr_scale = 0.25}},
                  optimizer);
  for (auto& parameter : model.parameters) parameter.tensor.mutable_grad().fill_(1.0f);
  model.step(optimizer, {.lr = 0.5});
  EXPECT_EQ(model.parameters[0].tensor[0].item<float>(), -0.5f);
  EXPECT_EQ(model.parameters[1].tensor[0].item<float>(), -0.125f);
}

TEST(Optimizer, RefusesAnUnknownName) { EXPECT_THROW(Optimizer(options_named("adan")), Error); }

TEST(BlockSums, NormIsThatOfAllGradients) {
  const Optimizer optimizer(options_named("sgd"));
  FlatModel model(some_parameters(), optimizer);
  set_gradients(model, 1);
  double squares = 0.0;
  for (const auto& parameter : model.parameters) {
    squares += parameter.tensor.grad().to(at::kDouble).square().sum().item<double>();
  }
  BlockSums sums(model.flat, 1);
  for (const Slice& slice : model.slices)
    add_squares(slice, model.flat.gradients(slice.range), sums);
  EXPECT_NEAR(sums.total(0) / squares, 1.0, 1e-13);  // fp64, other order of additions
}

}  // namespace
}  // namespace kiln
