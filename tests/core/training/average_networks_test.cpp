// Networks that follow parameters, step by step against the equation.

#include "core/training/average_networks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/checkpoint/checkpoint_reader.h"
#include "core/torch.h"
#include "tests/support/coupled_toy.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/toy_training.h"

namespace kiln {
namespace {

using toy::CoupledObjective;
using toy::CoupledOptions;
using toy::Outcome;
using toy::TrainingSetup;

constexpr std::int64_t kSteps = 5;

/// Saves after every step. The folder's checkpoints, oldest first.
std::vector<CheckpointReader> checkpoints(const std::filesystem::path& folder,
                                          const CoupledOptions& options, int ranks) {
  TrainingSetup setup;
  setup.make_objective = [options] { return std::make_unique<CoupledObjective>(options); };
  setup.steps = kSteps;
  setup.ranks = ranks;
  setup.is_sharded = ranks > 1;
  setup.run_dir = folder;
  setup.save_every = 1;
  setup.keep = kSteps;
  train(setup);
  std::vector<CheckpointReader> readers;
  for (const auto& found : list_checkpoint_folders(folder)) readers.emplace_back(found.path);
  std::ranges::reverse(readers);
  return readers;
}

/// "momentum" of the toy as of step `step`: half a cosine from 0.8 to 1.
double decay_at(std::int64_t step) {
  return 1.0 - 0.1 * (1.0 + std::cos(std::numbers::pi * static_cast<double>(step) / kSteps));
}

TEST(AverageNetworks, FollowTheMasterWeightsWithTheDecayOfTheNextStep) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    for (const int ranks : {1, 3}) {
      const TemporaryFolder folder;
      const auto saved = checkpoints(folder.path(), {.precision = precision}, ranks);
      ASSERT_EQ(saved.size(), static_cast<std::size_t>(kSteps));
      for (const std::string name : {"weight1", "bias1", "weight2"}) {
        for (std::size_t i = 1; i < saved.size(); ++i) {
          const double decay = decay_at(static_cast<std::int64_t>(i) + 1);
          const at::Tensor before = saved[i - 1].read("buffer/average/" + name);
          const at::Tensor weight = saved[i].read(name);
          const at::Tensor expected = before * decay + weight * (1 - decay);
          EXPECT_TRUE(
              torch::allclose(saved[i].read("buffer/average/" + name), expected, 1e-6, 1e-7))
              << name << " after step " << i + 1;
          EXPECT_EQ(at::equal(before, weight), false);
        }
      }
    }
  }
}

TEST(AverageNetworks, BeginAsExactCopies) {
  const TemporaryFolder folder;
  const auto saved = checkpoints(folder.path(), {}, 1);
  CoupledObjective objective;
  for (const Parameter& parameter : objective.parameters(0)) {
    const at::Tensor initial = parameter.tensor.detach();
    const at::Tensor weight = saved[0].read(parameter.name);
    const at::Tensor expected = initial * decay_at(1) + weight * (1 - decay_at(1));
    EXPECT_TRUE(
        torch::allclose(saved[0].read("buffer/average/" + parameter.name), expected, 1e-6, 1e-7));
  }
}

TEST(AverageNetworks, TargetsAreTheAveragesInTheModelsPrecisionOnEveryRank) {
  const CoupledOptions options{.precision = at::kBFloat16};
  for (const int ranks : {1, 4}) {
    const TemporaryFolder folder;
    TrainingSetup setup;
    setup.make_objective = [options] { return std::make_unique<CoupledObjective>(options); };
    setup.ranks = ranks;
    setup.is_sharded = ranks > 1;
    setup.run_dir = folder.path();
    const Outcome outcome = train(setup);  // which compares the targets of all ranks
    const CheckpointReader saved(list_checkpoint_folders(folder.path()).front().path);
    for (const std::string name : {"average/weight1", "average/bias1", "average/weight2"}) {
      const at::Tensor average = saved.read("buffer/" + name);
      EXPECT_EQ(average.scalar_type(), at::kFloat);
      EXPECT_TRUE(at::equal(outcome.buffers.at(name), average.to(at::kBFloat16))) << name;
    }
  }
}

}  // namespace
}  // namespace kiln
