// A loss over the global batch, in micro-batches on any number of ranks, against the whole batch at
// once.

#include "core/training/coupled_pass.h"

#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "core/base/work.h"
#include "core/schedule/value_schedules.h"
#include "core/torch.h"
#include "dist/thread_communicator.h"
#include "tests/support/coupled_toy.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/toy_training.h"

namespace kiln {
namespace {

using toy::CoupledObjective;
using toy::CoupledOptions;
using toy::Outcome;
using toy::TrainingSetup;

constexpr std::int64_t kMicroBatch = 3, kMicroBatches = 5;
constexpr std::int64_t kBatch = kMicroBatch * kMicroBatches;

/// Leaves gradients where autograd puts them.
class NoExchange final : public GradientExchange {
 public:
  void begin_step() override {}
  void begin(std::int64_t, bool) override {}
  void end_micro_batch() override {}
  void finish() override {}
  const std::vector<Range>& owned() const override { return owned_; }
  at::Tensor gradient(Range) override { return {}; }
  void share_weights() override {}

 private:
  std::vector<Range> owned_;
};

struct Result {
  double loss = 0.0;
  std::map<std::string, at::Tensor> gradients;
  Sums sums;
  Rows rows;
  std::int64_t num_embedded = 0;
};

const StepContext kContext{.global_batch = kBatch, .values = {{"temperature", 0.2}}};

void copy_to_average(CoupledObjective& objective) {
  const at::NoGradGuard no_grad;
  for (const Average& average : objective.averages()) {
    for (const auto& pair : average.pairs) at::Tensor(pair.target).copy_(pair.source * 0.9);
  }
}

void set_gradients(CoupledObjective& objective, Result& result) {
  for (const Parameter& parameter : objective.parameters(0)) {
    result.gradients[parameter.name] = parameter.tensor.grad().clone();
  }
}

std::vector<Batch> batches_of(const CoupledObjective& objective, int rank, int ranks,
                              std::int64_t micro_batch = kMicroBatch) {
  toy::Loader loader(objective, kBatch, micro_batch, rank, ranks);
  loader.start(0);
  std::vector<Batch> batches = loader.next();
  for (Batch& batch : batches) batch.tensors["x"] = batch.at("x").to(at::kDouble);
  return batches;
}

/// One rank's part of one step in fp64.
Result pass_of(Communicator& communicator, bool is_cut) {
  CoupledObjective objective({.precision = at::kDouble, .is_cut = is_cut});
  copy_to_average(objective);
  NoExchange exchange;
  OrderedSums sums(communicator, kMicroBatches);
  CoupledPass pass(objective, 0, exchange, communicator, communicator, kMicroBatches);
  Result result;
  result.loss =
      pass.run(batches_of(objective, communicator.rank(), communicator.size()), kContext, sums)
          .value.item<double>();
  set_gradients(objective, result);
  result.sums = sums.reduce(objective.sums(0));
  result.rows = pass.rows();
  result.num_embedded = objective.num_embedded;
  return result;
}

/// On ranks that are threads; gradients added up.
std::vector<Result> pass_on(int ranks, bool is_cut = false) {
  auto communicators = make_thread_communicators(ranks, std::chrono::seconds(20));
  std::vector<Result> results(communicators.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t rank = 0; rank < results.size(); ++rank) {
      threads.emplace_back([&, rank] { results[rank] = pass_of(*communicators[rank], is_cut); });
    }
  }
  for (std::size_t rank = 1; rank < results.size(); ++rank) {
    for (auto& [name, gradient] : results[0].gradients) {
      gradient += results[rank].gradients.at(name);
    }
  }
  return results;
}

/// The whole batch as one micro-batch, by autograd alone.
Result whole_batch() {
  CoupledObjective objective({.precision = at::kDouble});
  copy_to_average(objective);
  const Batch batch = batches_of(objective, 0, 1, kBatch).front();
  Result result;
  result.rows = objective.embed(batch, kContext, 0);
  result.sums = objective.sums(0);
  const Loss loss = objective.couple(result.rows, kContext, 0);
  loss.value.backward();
  result.loss = loss.value.item<double>();
  set_gradients(objective, result);
  return result;
}

double relative_error(const std::map<std::string, at::Tensor>& actual,
                      const std::map<std::string, at::Tensor>& expected) {
  double worst = 0.0;
  for (const auto& [name, tensor] : expected) {
    const double error = (actual.at(name) - tensor).abs().max().item<double>();
    worst = std::max(worst, error / tensor.abs().max().item<double>());
  }
  return worst;
}

TEST(CoupledPass, GivesLossAndGradientOfTheWholeBatch) {
  const Result whole = whole_batch();
  for (const int ranks : {1, 2, 3, 4, 5}) {
    const std::vector<Result> results = pass_on(ranks);
    EXPECT_NEAR(results[0].loss, whole.loss, 1e-12 * whole.loss) << ranks;
    EXPECT_LT(relative_error(results[0].gradients, whole.gradients), 1e-12) << ranks;
    EXPECT_LT(relative_error(results[0].sums, whole.sums), 1e-12) << ranks;
    for (const Result& result : results) {
      EXPECT_EQ(result.loss, results[0].loss) << "the same bits on every rank";
      EXPECT_TRUE(at::equal(result.rows.at("q"), results[0].rows.at("q")));
      EXPECT_TRUE(
          at::equal(result.rows.at("micro_batch"), at::arange(kBatch).floor_divide(kMicroBatch)));
    }
  }
}

// What the tests above would see if keys of other micro-batches were missing.
TEST(CoupledPass, IsNotTheSumOfMicroBatches) {
  const Result whole = whole_batch();
  const Result cut = pass_on(2, /*is_cut=*/true)[0];
  EXPECT_GT(std::abs(cut.loss - whole.loss), 1e-3 * whole.loss);
  EXPECT_GT(relative_error(cut.gradients, whole.gradients), 1e-2);
}

TEST(CoupledPass, RunsAgainWhatItHasNotKept) {
  // 5 micro-batches: of 3 ranks the first owns one, the others two.
  std::vector<std::int64_t> numbers;
  for (const Result& result : pass_on(3)) numbers.push_back(result.num_embedded);
  EXPECT_EQ(numbers, (std::vector<std::int64_t>{1, 3, 3}));
}

/// Most bytes that tensors of the calling thread hold at once while it lives.
class PeakMemory {
 public:
  PeakMemory()
      : count_(std::make_shared<Count>()), guard_(c10::DebugInfoKind::PROFILER_STATE, count_) {}
  std::int64_t bytes() const { return count_->peak; }

 private:
  struct Count final : c10::MemoryReportingInfoBase {
    std::int64_t now = 0, peak = 0;
    void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t,
                           c10::Device) override {
      now += size;
      peak = std::max(peak, now);
    }
    bool memoryProfilingEnabled() const override { return true; }
  };
  std::shared_ptr<Count> count_;
  c10::DebugInfoGuard guard_;
};

std::int64_t peak_bytes(std::int64_t micro_batches) {
  CoupledObjective objective({.precision = at::kDouble});
  copy_to_average(objective);
  toy::Loader loader(objective, micro_batches * kMicroBatch, kMicroBatch, 0, 1);
  loader.start(0);
  std::vector<Batch> batches = loader.next();
  for (Batch& batch : batches) batch.tensors["x"] = batch.at("x").to(at::kDouble);
  const auto communicators = make_thread_communicators(1, std::chrono::seconds(20));
  NoExchange exchange;
  OrderedSums sums(*communicators[0], micro_batches);
  CoupledPass pass(objective, 0, exchange, *communicators[0], *communicators[0], micro_batches);
  pass.run(batches, kContext, sums);  // what comes into being once
  const PeakMemory memory;
  pass.run(batches, kContext, sums);
  return memory.bytes();
}

// A micro-batch's graph holds [3, 800] hidden values three times over in fp64, its rows 12 numbers.
TEST(CoupledPass, HasMemoryForOneGraphAndTheRows) {
  const std::int64_t few = peak_bytes(2), many = peak_bytes(18);
  const std::int64_t graph = 3 * 800 * 8;
  EXPECT_GT(few, graph);
  EXPECT_LT(many - few, 16 * graph / 4) << few << " and " << many << " bytes";
}

TrainingSetup setup_of(const CoupledOptions& options = {}) {
  TrainingSetup setup;
  setup.micro_batches = kMicroBatches;
  setup.make_objective = [options] { return std::make_unique<CoupledObjective>(options); };
  return setup;
}

// ---- in training --------------------------------------------------------------------------------

/// Training written down plainly, in fp64: the whole batch at once, SGD with momentum, momentum
/// encoder and queue moved by hand.
std::vector<double> plain_losses(std::int64_t steps) {
  CoupledObjective objective;  // for the initial weights, in fp32
  CoupledObjective wide({.precision = at::kDouble});
  const auto from = objective.parameters(0), into = wide.parameters(0);
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < into.size(); ++i) into[i].tensor.detach().copy_(from[i].tensor);
  const Average average = wide.averages().front();
  for (const auto& pair : average.pairs) pair.target.detach().copy_(pair.source);
  const ValueSchedules values(
      wide.schedules(), {},
      {.total_samples = steps * kBatch, .samples_per_epoch = 1000, .global_batch = kBatch});
  const Schedule schedule({.warmup_steps = 2}, 0.01, steps * kBatch, 1000, kBatch);
  toy::Loader loader(wide, kBatch, kBatch, 0, 1);
  loader.start(0);
  std::vector<at::Tensor> buffers(into.size());
  std::vector<double> losses;
  for (std::int64_t step = 0; step < steps; ++step) {
    Batch batch = loader.next().front();
    batch.tensors["x"] = batch.at("x").to(at::kDouble);
    const std::int64_t seen = step * kBatch;
    const StepContext now{
        .step = step, .samples_seen = seen, .global_batch = kBatch, .values = values.at(seen)};
    Rows rows;
    {
      const at::AutoGradMode with_grad(true);
      rows = wide.embed(batch, now, 0);
      const Loss loss = wide.couple(rows, now, 0);
      loss.value.backward();
      losses.push_back(loss.value.item<double>());
    }
    for (std::size_t i = 0; i < into.size(); ++i) {
      const at::Tensor weight = into[i].tensor.detach();
      at::Tensor gradient = into[i].tensor.grad().clone();
      into[i].tensor.grad().zero_();
      if (into[i].has_decay) gradient += now.value("weight_decay") * weight;
      buffers[i] = step == 0 ? gradient : buffers[i] * 0.9 + gradient;
      weight.sub_(schedule.at(seen) * buffers[i]);
    }
    wide.after_step(now, wide.sums(0), rows);
    const double decay = values.at(seen + kBatch).at("momentum");
    for (const auto& pair : average.pairs) {
      pair.target.detach().mul_(decay).add_((1 - decay) * pair.source.detach());
    }
  }
  return losses;
}

TrainingSetup sgd_setup() {
  TrainingSetup setup = setup_of();
  setup.steps = 8;
  setup.optimizer = "sgd";
  setup.clip_norm = 0.0;
  return setup;
}

TEST(CoupledTraining, DoesWhatAPlainLoopDoesOnAnyNumberOfRanks) {
  TrainingSetup setup = sgd_setup();
  const std::vector<double> expected = plain_losses(setup.steps);
  for (const int ranks : {1, 2, 3, 4}) {
    for (const bool is_sharded : {false, true}) {
      setup.ranks = ranks;
      setup.is_sharded = is_sharded;
      const Outcome outcome = train(setup);
      ASSERT_EQ(outcome.losses.size(), expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(outcome.losses[i], expected[i], 1e-6 * expected[i])
            << ranks << " ranks, sharded " << is_sharded << ", step " << i;
      }
    }
  }
}

TEST(CoupledTraining, FailsToAgreeWhenTheCouplingIsCut) {
  TrainingSetup setup = sgd_setup();
  setup.make_objective = [] {
    return std::make_unique<CoupledObjective>(CoupledOptions{.is_cut = true});
  };
  const std::vector<double> expected = plain_losses(setup.steps);
  EXPECT_GT(std::abs(train(setup).losses.back() - expected.back()), 1e-3 * expected.back());
}

bool have_equal(const std::map<std::string, at::Tensor>& a,
                const std::map<std::string, at::Tensor>& b) {
  for (const auto& [name, tensor] : a) {
    if (!at::equal(tensor, b.at(name))) return false;
  }
  return a.size() == b.size();
}

TEST(CoupledTraining, ReproducibleModeGivesTheSameBitsOnAnyNumberOfRanks) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    TrainingSetup setup = setup_of({.precision = precision, .has_critic = true});
    setup.is_reproducible = true;
    const Outcome one = train(setup);
    for (const int ranks : {2, 3, 4, 5}) {
      for (const bool is_sharded : {false, true}) {
        setup.ranks = ranks;
        setup.is_sharded = is_sharded;
        const Outcome several = train(setup);
        EXPECT_EQ(several.weights_hash, one.weights_hash) << ranks << ", sharded " << is_sharded;
        EXPECT_EQ(several.losses, one.losses);
        EXPECT_TRUE(have_equal(several.buffers, one.buffers)) << "queue, averages, statistics";
      }
    }
  }
}

TEST(CoupledTraining, ResumesWithQueueAndAverageOnOtherRanks) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    TrainingSetup setup = setup_of({.precision = precision,
                                    .has_critic = true,
                                    .is_initialised = true,
                                    .frozen_samples = 2 * kBatch});
    setup.is_reproducible = true;
    setup.ema_decay = 0.9;
    const Outcome whole = train(setup);
    const TemporaryFolder folder;
    setup.run_dir = folder.path();
    setup.ranks = 3;
    setup.is_sharded = true;
    setup.stop_after = 3;
    const Outcome first = train(setup);
    EXPECT_EQ(first.step, 3);
    setup.ranks = 2;
    setup.stop_after = 0;
    setup.resumes = true;
    const Outcome second = train(setup);
    EXPECT_EQ(second.weights_hash, whole.weights_hash);
    EXPECT_TRUE(have_equal(second.buffers, whole.buffers));
    EXPECT_EQ(second.losses, std::vector<double>(whole.losses.begin() + 3, whole.losses.end()));
  }
}

TEST(CoupledTraining, NeedsAMicroBatchForEachRank) {
  TrainingSetup setup = setup_of();
  setup.ranks = static_cast<int>(kMicroBatches) + 1;
  EXPECT_THROW(train(setup), Error);
}

TEST(CoupledTraining, LogsMetricsOfTheWholeBatchAndSchedules) {
  const Outcome outcome = train(setup_of());
  const StepReport& first = outcome.reports.front();
  EXPECT_DOUBLE_EQ(first.metrics.at("temperature"), 0.5);
  EXPECT_DOUBLE_EQ(outcome.reports.back().metrics.at("temperature"), 0.2);
  EXPECT_DOUBLE_EQ(first.metrics.at("momentum"), 0.8);
  const double hits = first.metrics.at("hits") * kBatch;
  EXPECT_NEAR(hits, std::round(hits), 1e-6);
}

TEST(CoupledTraining, InitialisesFromTheFirstMicroBatchOnEveryRank) {
  TrainingSetup setup = setup_of({.is_initialised = true});
  setup.is_reproducible = true;
  setup.steps = 1;
  setup.optimizer = "sgd";
  setup.change_recipe = [](Recipe& recipe) {
    recipe.optimizer.lr = 0.0;
    recipe.schedule.warmup_steps.reset();
  };
  for (const int ranks : {1, 3}) {
    setup.ranks = ranks;
    const Outcome outcome = train(setup);
    CoupledObjective objective;
    const at::Tensor x = toy::Loader(objective, kBatch, kMicroBatch, 0, 1).read(0, 0).at("x");
    const at::Tensor hidden = at::linear(x, outcome.weights.at("weight1"));
    EXPECT_TRUE(torch::allclose(hidden.std(0, false), at::ones({hidden.size(1)}), 1e-5, 1e-5));
    EXPECT_TRUE(at::equal(outcome.buffers.at("average/weight1"), outcome.weights.at("weight1")));
  }
}

}  // namespace
}  // namespace kiln
