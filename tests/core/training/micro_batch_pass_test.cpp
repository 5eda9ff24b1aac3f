#include "core/training/micro_batch_pass.h"

#include <gtest/gtest.h>

#include <tuple>

#include "core/torch.h"
#include "dist/local_communicator.h"
#include "tests/support/host_recorder.h"
#include "tests/support/toy_training.h"

// Replays on the host: the same copies into the tensors of the recording, the same accumulation and
// the same accounts with the exchange as on a GPU.

namespace kiln {
namespace {

using toy::Outcome;
using toy::train;
using toy::TrainingSetup;

constexpr int kRehearsals = MicroBatchPass::kRehearsals;

TrainingSetup recordable_setup() {
  TrainingSetup setup;
  setup.has_recordable = true;
  setup.targets_per_sample = 4;
  return setup;
}

void expect_same(const Outcome& replayed, const Outcome& plain) {
  EXPECT_EQ(replayed.weights_hash, plain.weights_hash);
  EXPECT_EQ(replayed.losses, plain.losses);
  for (std::size_t i = 0; i < plain.reports.size(); ++i) {
    EXPECT_EQ(replayed.reports[i].metrics, plain.reports[i].metrics) << "step " << i;
  }
}

/// Trains plain and with a recorder; both must end the same.
void train_both_ways(TrainingSetup setup, HostRecorder::Counts& counts) {
  const Outcome plain = train(setup);
  setup.make_recorder = HostRecorder::maker(counts);
  expect_same(train(setup), plain);
}

struct Case {
  int ranks;
  bool is_reproducible, is_sharded;
  at::ScalarType precision;
};
class MicroBatchPassRanks : public testing::TestWithParam<Case> {};

TEST_P(MicroBatchPassRanks, ReplaysGiveTheBitsOfPlainTraining) {
  const Case& c = GetParam();
  TrainingSetup setup = recordable_setup();
  setup.ranks = c.ranks;
  setup.is_reproducible = c.is_reproducible;
  setup.is_sharded = c.is_sharded;
  setup.precision = c.precision;
  setup.micro_batches = 8;
  setup.ema_decay = 0.9;
  setup.evaluate = [](Trainer& trainer) { trainer.with_average_weights([] {}); };
  HostRecorder::Counts counts;
  train_both_ways(setup, counts);
  EXPECT_EQ(counts.recordings, c.ranks);
  EXPECT_EQ(counts.rehearsals, c.ranks * kRehearsals);
  // Of several ranks, each runs its last micro-batch plain.
  const auto candidates = setup.steps * (setup.micro_batches - (c.ranks > 1 ? c.ranks : 0));
  EXPECT_EQ(counts.replays, candidates - c.ranks * kRehearsals);
}

INSTANTIATE_TEST_SUITE_P(
    All, MicroBatchPassRanks,
    testing::Values(Case{1, false, false, at::kFloat}, Case{1, true, false, at::kBFloat16},
                    Case{1, false, false, at::kBFloat16}, Case{2, false, true, at::kFloat},
                    Case{3, true, false, at::kFloat}, Case{3, true, true, at::kBFloat16}));

TEST(MicroBatchPass, OtherDenominatorsRunPlain) {
  TrainingSetup setup = recordable_setup();
  setup.targets_per_sample = 0;
  HostRecorder::Counts counts;
  train_both_ways(setup, counts);
  EXPECT_EQ(counts.recordings, 1);
  EXPECT_EQ(counts.replays, 1);  // the last of the first step, which is the one recorded
}

// Never as many alike in a row as a recording takes.
TEST(MicroBatchPass, RehearsesAnewUntilMicroBatchesAreAlike) {
  TrainingSetup setup = recordable_setup();
  setup.targets_per_sample = 0;
  setup.micro_batches = 2;
  HostRecorder::Counts counts;
  setup.make_recorder = HostRecorder::maker(counts);
  train(setup);
  EXPECT_EQ(counts.rehearsals, setup.steps * setup.micro_batches);
  EXPECT_EQ(counts.recordings, 0);
}

TEST(MicroBatchPass, AnObjectiveThatCannotBeRecordedMeetsNoRecorder) {
  TrainingSetup setup;
  HostRecorder::Counts counts;
  train_both_ways(setup, counts);
  EXPECT_EQ(counts.recorders, 0);
}

TEST(MicroBatchPass, APhaseThatRestsRunsPlainBesideOneThatIsReplayed) {
  TrainingSetup setup = recordable_setup();
  setup.num_phases = 2;
  HostRecorder::Counts counts;
  train_both_ways(setup, counts);
  EXPECT_EQ(counts.recorders, 1);
  EXPECT_EQ(counts.replays, setup.steps * setup.micro_batches - kRehearsals);
}

/// The gradient that a step of these micro-batches leaves.
at::Tensor gradient_of(const std::vector<Batch>& batches, const MakeRecorder& make_recorder) {
  toy::Objective objective;
  objective.has_recordable = true;
  FlatParameters flat(objective.parameters(0), 1 << 16, 1);
  const auto communicator = make_local_communicator();
  const auto exchange =
      make_gradient_exchange(flat, *communicator, {.num_micro_batches = std::ssize(batches)});
  MicroBatchPass pass(objective, 0, *exchange, /*has_peers=*/false, make_recorder);
  for (const Batch& batch : batches) {
    pass.run(batch, {}, {&batch == &batches.front(), &batch == &batches.back()});
  }
  exchange->finish();
  std::vector<at::Tensor> sums;
  for (const Range range : exchange->owned()) sums.push_back(exchange->gradient(range).clone());
  return at::cat(sums);
}

TEST(MicroBatchPass, OtherShapesAndTypesRunPlain) {
  toy::Objective objective;
  objective.targets_per_sample = 4;
  std::vector<Batch> batches;
  for (const std::int64_t samples : {3, 3, 3, 3, 2, 3, 3}) {
    toy::Loader loader(objective, samples, samples, 0, 1);
    loader.start(std::ssize(batches) * 3);
    batches.push_back(loader.next().front());
    batches.back().micro_batch = std::ssize(batches) - 1;
    batches.back().denominators = {{"targets", 80.0}};
  }
  batches[5].tensors["mask"] = batches[5].tensors["mask"].to(at::kDouble);
  HostRecorder::Counts counts;
  const at::Tensor replayed = gradient_of(batches, HostRecorder::maker(counts));
  EXPECT_EQ(counts.replays, 2);  // numbers 3 and 6
  EXPECT_TRUE(torch::equal(replayed, gradient_of(batches, {})));
}

}  // namespace
}  // namespace kiln
