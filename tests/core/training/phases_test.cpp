// Phases with optimizers of their own, bounds and frozen parameters, and what a bad step leaves
// behind where there are several phases.

#include <gtest/gtest.h>

#include <cmath>

#include "core/checkpoint/checkpoint_reader.h"
#include "core/torch.h"
#include "core/training/phase_settings.h"
#include "tests/support/coupled_toy.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/toy_training.h"

namespace kiln {
namespace {

using toy::CoupledObjective;
using toy::CoupledOptions;
using toy::Outcome;
using toy::TrainingSetup;

TrainingSetup setup_of(const CoupledOptions& options) {
  TrainingSetup setup;
  setup.make_objective = [options] { return std::make_unique<CoupledObjective>(options); };
  return setup;
}

TEST(PhaseSettings, RecipeHasTheLastWordOverObjectiveAndOptimizer) {
  Recipe recipe;
  recipe.optimizer.weight_decay = 0.1;
  recipe.train.clip_norm = 2.0;
  recipe.phases["critic"].clip_norm = 3.0;
  recipe.phases["critic"].clip = "tensor";
  recipe.phases["critic"].eps = 1e-4;
  const std::vector<Phase> phases = {
      {.name = "encoder"},
      {.name = "critic",
       .optimizer = {.name = "rmsprop", .lr_factor = 0.5, .eps = 1e-3, .clip_norm = 1.0}}};
  const auto all = phase_settings(recipe, phases, 0.2);
  EXPECT_EQ(all[0].optimizer.name, "adamw");
  EXPECT_EQ(all[0].optimizer.lr, 0.2);
  EXPECT_EQ(all[0].clip_norm, 2.0);
  EXPECT_FALSE(all[0].clips_tensors);
  EXPECT_EQ(all[1].optimizer.name, "rmsprop");
  EXPECT_EQ(all[1].optimizer.lr, 0.1);
  EXPECT_EQ(all[1].optimizer.eps, 1e-4);
  EXPECT_EQ(all[1].optimizer.weight_decay, 0.1);
  EXPECT_EQ(all[1].clip_norm, 3.0);
  EXPECT_TRUE(all[1].clips_tensors);
}

TEST(PhaseSettings, RateOfTheRecipeDrivesOutTheObjectivesFactor) {
  Recipe recipe;
  recipe.phases["critic"].lr = 0.7;
  const std::vector<Phase> phases = {{.name = "critic", .optimizer = {.lr_factor = 0.5}}};
  EXPECT_EQ(phase_settings(recipe, phases, 0.2)[0].optimizer.lr, 0.7);
  recipe.phases["critic"].lr_factor = 0.1;
  EXPECT_THROW(phase_settings(recipe, phases, 0.2), Error);
}

// Expected: the optimizers' first updates, whose size does not depend on the gradient's.
TEST(Phases, HaveOptimizersAndRatesOfTheirOwn) {
  TrainingSetup setup = setup_of({.has_critic = true});
  setup.steps = 1;
  setup.clip_norm = 0.0;
  setup.change_recipe = [](Recipe& recipe) {
    recipe.schedule.warmup_steps.reset();
    recipe.optimizer.eps = 1e-13;
    recipe.schedules["weight_decay"] = {.start = 0.0};
    recipe.phases["critic"].betas = std::vector<double>{0.0, 0.96};
  };
  CoupledObjective objective;
  const Outcome outcome = train(setup);
  const auto moved = [&](std::size_t phase, const std::string& name) {
    for (const Parameter& parameter : objective.parameters(phase)) {
      if (parameter.name != name) continue;
      return (outcome.weights.at(name) - parameter.tensor.detach()).abs();
    }
    return at::Tensor();
  };
  // Adam: lr. RMSprop: lr / sqrt(1 - 0.96), with half the rate.
  EXPECT_TRUE(torch::allclose(moved(0, "weight2"), at::full({1}, 0.01), 1e-3, 0.0));
  EXPECT_TRUE(torch::allclose(moved(1, "critic"), at::full({1}, 0.005 / 0.2), 1e-3, 0.0));
  const StepReport& report = outcome.reports.front();
  EXPECT_DOUBLE_EQ(report.lr, 0.01);
  EXPECT_DOUBLE_EQ(report.metrics.at("critic/lr"), 0.005);
  EXPECT_GT(report.metrics.at("critic/grad_norm"), 0.0);
}

TEST(Phases, SumsOfEachReachAfterStep) {
  TrainingSetup setup = setup_of({.has_critic = true});
  setup.steps = 1;
  setup.ranks = 2;
  setup.change_recipe = [](Recipe& recipe) { recipe.schedule.warmup_steps.reset(); };
  const Outcome outcome = train(setup);
  CoupledObjective objective;
  const at::NoGradGuard no_grad;
  const at::Tensor x = toy::Loader(objective, 12, 12, 0, 1).read(0, 0).at("x");
  const at::Tensor before = objective.encode(x, false).to(at::kDouble);
  EXPECT_TRUE(torch::allclose(outcome.buffers.at("mean"), before.mean(0), 1e-5, 1e-6));
  // The critic comes after the encoder's update.
  for (const Parameter& parameter : objective.parameters(0)) {
    parameter.tensor.detach().copy_(outcome.weights.at(parameter.name));
  }
  const at::Tensor scores =
      at::linear(objective.encode(x, false), objective.parameters(1)[0].tensor);
  EXPECT_NEAR(outcome.buffers.at("score").item<double>(), scores.sum().item<double>(), 1e-4);
}

TEST(Phases, ClipEachTensorByItsOwnNorm) {
  TrainingSetup setup = setup_of({});
  setup.steps = 1;
  setup.optimizer = "sgd";
  setup.clip_norm = 1e-3;
  setup.change_recipe = [](Recipe& recipe) {
    recipe.train.clip = "tensor";
    recipe.optimizer.lr = 1.0;
    recipe.schedule.warmup_steps.reset();
    recipe.schedules["weight_decay"] = {.start = 0.0};
  };
  CoupledObjective objective;
  for (const bool is_sharded : {false, true}) {
    setup.ranks = is_sharded ? 3 : 1;
    setup.is_sharded = is_sharded;
    const Outcome outcome = train(setup);
    for (const Parameter& parameter : objective.parameters(0)) {
      const at::Tensor step = outcome.weights.at(parameter.name) - parameter.tensor.detach();
      EXPECT_NEAR(step.norm().item<double>(), 1e-3, 1e-6) << parameter.name;
    }
  }
}

TEST(Phases, KeepABoundedParameterWithinItsBound) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    TrainingSetup setup =
        setup_of({.precision = precision, .has_critic = true, .bound = 0.0078125});
    setup.steps = 12;
    const Outcome outcome = train(setup);
    const at::Tensor critic = outcome.weights.at("critic").abs();
    EXPECT_LE(critic.max().item<double>(), 0.0078125);
    EXPECT_EQ(critic.max().item<double>(), 0.0078125) << "the bound was met";
    EXPECT_GT(outcome.weights.at("weight1").abs().max().item<double>(), 0.1);
  }
}

TEST(Phases, FrozenParameterMovesFromItsStepOnAsIfThatWereTheFirst) {
  TrainingSetup setup = setup_of({.frozen_samples = 2 * 12});
  setup.clip_norm = 0.0;
  setup.change_recipe = [](Recipe& recipe) {
    recipe.schedule.warmup_steps.reset();
    recipe.optimizer.eps = 1e-13;
  };
  CoupledObjective objective;
  const at::Tensor before = objective.parameters(0)[1].tensor.detach();
  setup.stop_after = 2;
  EXPECT_TRUE(at::equal(train(setup).weights.at("bias1"), before));
  setup.stop_after = 3;
  const StepReport report = train(setup).reports.back();
  const at::Tensor moved = (train(setup).weights.at("bias1") - before).abs();
  EXPECT_TRUE(torch::allclose(moved, at::full({1}, report.lr), 1e-3, 0.0))
      << "Adam's first update is lr, with the bias of a first update corrected";
}

/// All a checkpoint holds, except the step.
std::map<std::string, at::Tensor> contents(const std::filesystem::path& folder) {
  const CheckpointReader reader(folder);
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, tensor] : reader.manifest().tensors) all[name] = reader.read(name);
  for (const auto& [name, value] : reader.manifest().extra) {
    if (name.starts_with("divergence/")) continue;
    all[name] = at::scalar_tensor(value, at::kLong);
  }
  return all;
}

// The encoder is updated before the critic of the same step is judged.
TEST(Phases, ABadStepOfALaterPhaseUndoesTheEarlierOne) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    for (const int ranks : {1, 3}) {
      const TemporaryFolder folder;
      TrainingSetup setup = setup_of(
          {.precision = precision, .has_critic = true, .frozen_samples = 1000, .broken_step = 2});
      setup.ranks = ranks;
      setup.is_sharded = ranks > 1;
      setup.ema_decay = 0.9;
      setup.divergence.action = "skip";
      setup.run_dir = folder.path();
      setup.save_every = 1;
      setup.stop_after = 3;
      const Outcome outcome = train(setup);
      ASSERT_EQ(outcome.divergences.size(), 1u);
      EXPECT_EQ(outcome.divergences[0].phase, "critic");
      const auto folders = list_checkpoint_folders(folder.path());
      ASSERT_EQ(folders.size(), 3u);
      const auto after = contents(folders[0].path), before = contents(folders[1].path);
      ASSERT_EQ(before.size(), after.size());
      for (const auto& [name, tensor] : before) {
        EXPECT_TRUE(at::equal(tensor, after.at(name))) << name;
      }
    }
  }
}

TEST(Phases, AStoppedRunHasNothingOfItsBadStep) {
  TrainingSetup setup = setup_of({.has_critic = true, .broken_step = 2});
  EXPECT_THROW(
      {
        try {
          train(setup);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::kDiverged);
          EXPECT_NE(std::string(error.what()).find("step 3, critic"), std::string::npos);
          throw;
        }
      },
      Error);
}

}  // namespace
}  // namespace kiln
