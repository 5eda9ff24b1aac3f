#include "core/training/trainer.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "core/torch.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/toy_training.h"

namespace kiln {
namespace {

using toy::Outcome;
using toy::train;
using toy::TrainingSetup;

TEST(Trainer, LossFalls) {
  TrainingSetup setup;
  setup.steps = 40;
  const Outcome outcome = train(setup);
  ASSERT_EQ(outcome.losses.size(), 40u);
  EXPECT_LT(outcome.losses.back(), 0.5 * outcome.losses.front());
  EXPECT_EQ(outcome.code, ExitCode::kDone);
  EXPECT_EQ(outcome.step, 40);
}

// The engine against the same training written down plainly: whole batch at once, PyTorch's AdamW.
TEST(Trainer, DoesWhatAPlainLoopDoes) {
  TrainingSetup setup;
  setup.clip_norm = 0.0;
  const Outcome outcome = train(setup);

  toy::Objective objective;
  toy::Loader loader(objective, 12, 12, 0, 1);
  const auto parameters = objective.parameters(0);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  for (const auto& parameter : parameters) {
    auto options = std::make_unique<torch::optim::AdamWOptions>(0.01);
    options->weight_decay(parameter.has_decay ? 0.05 : 0.0);
    groups.emplace_back(std::vector<at::Tensor>{parameter.tensor}, std::move(options));
  }
  torch::optim::AdamW optimizer(groups, torch::optim::AdamWOptions(0.01));
  const Schedule schedule({.warmup_steps = 2}, 0.01, 6 * 12, 1000, 12);
  loader.start(0);
  for (std::int64_t step = 0; step < 6; ++step) {
    const Batch batch = loader.next().front();
    for (auto& group : optimizer.param_groups()) group.options().set_lr(schedule.at(step * 12));
    optimizer.zero_grad();
    const Loss loss = *objective.loss(batch, {}, 0);
    loss.value.backward();
    optimizer.step();
    const double expected = loss.value.item<double>();
    EXPECT_NEAR(outcome.losses[static_cast<std::size_t>(step)], expected, 1e-5 * expected);
  }
}

TEST(Trainer, LossesDoNotDependOnRanks) {
  for (const bool is_sharded : {false, true}) {
    TrainingSetup setup;
    const Outcome one = train(setup);
    setup.is_sharded = is_sharded;
    for (const int ranks : {2, 3, 4}) {
      setup.ranks = ranks;
      const Outcome several = train(setup);
      for (std::size_t i = 0; i < one.losses.size(); ++i) {
        EXPECT_NEAR(several.losses[i], one.losses[i], 1e-6 * one.losses[i]) << ranks;
        EXPECT_NEAR(several.reports[i].metrics.at("error"), one.losses[i], 1e-6 * one.losses[i]);
      }
    }
  }
}

TEST(Trainer, RanksWithoutMicroBatchesTakePart) {
  TrainingSetup setup;
  setup.micro_batches = 2;
  const Outcome one = train(setup);
  setup.ranks = 5;
  for (const bool is_sharded : {false, true}) {
    setup.is_sharded = is_sharded;
    const Outcome five = train(setup);
    EXPECT_NEAR(five.losses.back(), one.losses.back(), 1e-6 * one.losses.back());
  }
}

TEST(Trainer, ReproducibleModeGivesTheSameBitsOnAnyNumberOfRanks) {
  using Kind = std::pair<std::string, at::ScalarType>;
  for (const auto& [optimizer, precision] : {Kind{"adamw", at::kFloat},
                                             {"adamw", at::kBFloat16},
                                             {"lamb", at::kFloat},
                                             {"lars", at::kBFloat16}}) {
    TrainingSetup setup;
    setup.is_reproducible = true;
    setup.optimizer = optimizer;
    setup.precision = precision;
    setup.steps = 3;
    setup.micro_batches = 5;
    const Outcome one = train(setup);
    for (const auto& [ranks, is_sharded] :
         {std::pair{2, false}, {3, true}, {5, true}, {6, false}, {6, true}}) {
      setup.ranks = ranks;
      setup.is_sharded = is_sharded;
      const Outcome several = train(setup);
      EXPECT_EQ(several.weights_hash, one.weights_hash)
          << optimizer << ", " << ranks << " ranks, sharded " << is_sharded;
      EXPECT_EQ(several.losses, one.losses);
    }
  }
}

TEST(Trainer, ShardingChangesNoBit) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    TrainingSetup setup;
    setup.precision = precision;
    setup.ranks = 3;
    const std::string replicated = train(setup).weights_hash;
    setup.is_sharded = true;
    EXPECT_EQ(train(setup).weights_hash, replicated);
  }
}

TEST(Trainer, BucketSizeChangesNoBit) {
  TrainingSetup setup;
  setup.is_reproducible = true;
  setup.ranks = 2;
  const std::string hash = train(setup).weights_hash;
  setup.bucket_mb = 25.0;
  EXPECT_EQ(train(setup).weights_hash, hash);
}

struct ResumeCase {
  int ranks;
  bool is_sharded, saves_async;
  at::ScalarType precision;
  int num_phases;
};
class TrainerResume : public testing::TestWithParam<ResumeCase> {};

TEST_P(TrainerResume, IsExact) {
  const ResumeCase& the_case = GetParam();
  TrainingSetup setup;
  setup.ranks = the_case.ranks;
  setup.is_sharded = the_case.is_sharded;
  setup.saves_async = the_case.saves_async;
  setup.precision = the_case.precision;
  setup.num_phases = the_case.num_phases;
  setup.ema_decay = 0.9;
  setup.steps = 8;
  const Outcome whole = train(setup);
  const TemporaryFolder run;
  setup.run_dir = run.path();
  setup.save_every = 2;
  setup.stop_after = 5;
  const Outcome first = train(setup);
  EXPECT_EQ(first.step, 5);
  EXPECT_EQ(first.code, ExitCode::kDone);
  setup.stop_after = 0;
  setup.resumes = true;
  const Outcome second = train(setup);
  EXPECT_EQ(second.weights_hash, whole.weights_hash);
  EXPECT_EQ(std::vector(whole.losses.begin() + 5, whole.losses.end()), second.losses);
}

INSTANTIATE_TEST_SUITE_P(, TrainerResume,
                         testing::Values(ResumeCase{1, false, false, at::kFloat, 1},
                                         ResumeCase{1, false, true, at::kFloat, 2},
                                         ResumeCase{2, false, true, at::kFloat, 1},
                                         ResumeCase{3, true, true, at::kFloat, 1},
                                         ResumeCase{3, true, false, at::kBFloat16, 1},
                                         ResumeCase{2, false, true, at::kBFloat16, 2}));

TEST(Trainer, ResumesOnAnotherNumberOfRanksToTheSameBits) {
  TrainingSetup setup;
  setup.is_reproducible = true;
  setup.ema_decay = 0.9;
  setup.steps = 7;
  const Outcome whole = train(setup);
  const TemporaryFolder run;
  setup.run_dir = run.path();
  for (const auto& [ranks, stop_after, is_sharded] :
       {std::tuple{4, 2, true}, {1, 4, false}, {3, 5, true}, {2, 0, false}}) {
    setup.ranks = ranks;
    setup.stop_after = stop_after;
    setup.is_sharded = is_sharded;
    const Outcome part = train(setup);
    setup.resumes = true;
    if (stop_after == 0) {
      EXPECT_EQ(part.weights_hash, whole.weights_hash);
      EXPECT_EQ(part.losses.back(), whole.losses.back());
    }
  }
}

TEST(Trainer, ASignalOnOneRankSavesAndStopsAll) {
  const TemporaryFolder run;
  TrainingSetup setup;
  setup.ranks = 3;
  setup.run_dir = run.path();
  setup.is_stop_requested = [](int rank, std::int64_t asked) { return rank == 1 && asked >= 2; };
  const Outcome stopped = train(setup);
  EXPECT_EQ(stopped.code, ExitCode::kStopped);
  EXPECT_EQ(stopped.step, 2);  // asked before steps 1, 2, 3; used a step later
  setup.is_stop_requested = nullptr;
  setup.resumes = true;
  const Outcome rest = train(setup);
  EXPECT_EQ(rest.code, ExitCode::kDone);
  EXPECT_EQ(rest.losses.size(), 4u);
}

TEST(Trainer, ASignalIsHonouredWhileARankWaitsForData) {
  const TemporaryFolder run;
  TrainingSetup setup;
  setup.ranks = 2;
  setup.run_dir = run.path();
  setup.missing_step = 3;
  setup.is_stop_requested = [](int rank, std::int64_t asked) { return rank == 0 && asked >= 5; };
  const Outcome stopped = train(setup);
  EXPECT_EQ(stopped.code, ExitCode::kStopped);
  EXPECT_EQ(stopped.step, 3);  // the steps whose data was there
  EXPECT_TRUE(std::filesystem::exists(run / "checkpoints/step-000000003/manifest.json"));
}

TEST(Trainer, StopsOnEveryRankWhenTheGradientIsNotFinite) {
  TrainingSetup setup;
  setup.ranks = 2;
  setup.broken_micro_batch = 2;
  try {
    train(setup);
    FAIL() << "did not stop";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDiverged);
    EXPECT_NE(std::string(error.what()).find("micro-batch 2 (positions 6 to 8)"), std::string::npos)
        << error.what();
  }
}

TEST(Trainer, TrainsPhasesInTurn) {
  TrainingSetup setup;
  setup.num_phases = 2;
  setup.steps = 4;
  const Outcome outcome = train(setup);
  // The second phase rests in steps 1 and 3 (from 0) and reports nothing then.
  EXPECT_EQ(outcome.reports[0].metrics.count("second/loss"), 1u);
  EXPECT_EQ(outcome.reports[1].metrics.count("second/loss"), 0u);
  EXPECT_EQ(outcome.reports[2].metrics.count("second/loss"), 1u);
  // In the same step it sees what the first phase has just done.
  EXPECT_NE(outcome.reports[2].metrics.at("second/loss"), outcome.reports[2].loss);
  setup.ranks = 2;
  const Outcome two = train(setup);
  EXPECT_NEAR(two.losses.back(), outcome.losses.back(), 1e-6 * outcome.losses.back());
}

TEST(Trainer, EvaluatesWithAverageWeightsAndPutsTheOthersBack) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    TrainingSetup setup;
    setup.precision = precision;
    setup.steps = 4;
    setup.ema_decay = 0.5;
    const std::string undisturbed = train(setup).weights_hash;
    setup.ranks = 2;
    setup.is_sharded = true;
    const std::string two = train(setup).weights_hash;
    int evaluations = 0;
    setup.evaluate = [&](Trainer& trainer) {
      const at::Tensor weight = trainer.objective().parameters(0)[0].tensor;
      const at::Tensor before = weight.detach().clone();
      trainer.with_average_weights([&] { EXPECT_FALSE(torch::equal(weight, before)); });
      EXPECT_TRUE(torch::equal(weight, before));
      EXPECT_FALSE(trainer.poll_stop());
      if (trainer.communicator().rank() == 0) ++evaluations;
    };
    EXPECT_EQ(train(setup).weights_hash, two);
    EXPECT_EQ(evaluations, 2);
    setup.ranks = 1;
    EXPECT_EQ(train(setup).weights_hash, undisturbed);
  }
}

// Every rank's files can be written; only rank 0's commit, behind the loop's back, cannot.
TEST(Trainer, AFailedLastSaveIsAnError) {
  const TemporaryFolder run;
  TrainingSetup setup;
  setup.ranks = 2;
  setup.run_dir = run.path();
  setup.steps = 2;
  setup.is_stop_requested = [&](int, std::int64_t) {
    std::filesystem::create_directories(run / "checkpoints/step-000000002.partial/manifest.json");
    return false;
  };
  try {
    train(setup);
    FAIL() << "did not notice";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kCheckpoint);
    EXPECT_NE(std::string(error.what()).find("the last checkpoint, of step 2, was not saved"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace kiln
