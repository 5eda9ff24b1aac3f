#include "tests/support/toy_training.h"

#include <algorithm>
#include <cmath>

#include "core/base/philox.h"
#include "core/checkpoint/run_folder.h"
#include "core/torch.h"

namespace kiln::toy {
namespace {

constexpr std::int64_t kInputs = 24, kHidden = 800, kOutputs = 40;  // first matrix: over a block

at::Tensor normal(Purpose purpose, std::int64_t position, std::vector<std::int64_t> shape) {
  const at::Tensor values = at::empty(shape, at::kFloat);
  fill_normal(Philox(11, purpose, position), values.data_ptr<float>(), values.numel());
  return values;
}

}  // namespace

struct Objective::Network final : torch::nn::Module {
  at::Tensor weight1, bias1, weight2, bias2;
  explicit Network(at::ScalarType type) {
    const auto add = [&](const char* name, std::int64_t index, std::vector<std::int64_t> shape) {
      const at::Tensor values = normal(Purpose::kInit, index, shape) * 0.2;
      return register_parameter(name, values.to(type));
    };
    weight1 = add("weight1", 0, {kHidden, kInputs});
    bias1 = add("bias1", 1, {kHidden});
    weight2 = add("weight2", 2, {kOutputs, kHidden});
    bias2 = add("bias2", 3, {kOutputs});
  }
};

Objective::Objective(at::ScalarType precision, int num_phases)
    : network_(std::make_shared<Network>(precision)),
      precision_(precision),
      num_phases_(num_phases),
      usage_(at::zeros({kInputs}, at::kDouble)),
      last_usage_(at::zeros({kInputs}, at::kDouble)) {}
Objective::~Objective() = default;

torch::nn::Module& Objective::module() { return *network_; }

// Of sample p, 1 + p % 7 targets count, where no number is given.
void Objective::prepare(Batch& batch, std::uint64_t) const {
  const at::Tensor mask = at::zeros({batch.num_samples, kOutputs}, at::kFloat);
  for (std::int64_t b = 0; b < batch.num_samples; ++b) {
    const std::int64_t uneven = 1 + (batch.first_position + b) % 7;
    mask[b].narrow(0, 0, targets_per_sample > 0 ? targets_per_sample : uneven).fill_(1.0f);
  }
  batch.tensors["mask"] = mask;
  batch.denominators["targets"] = mask.sum().item<double>();
}

std::vector<Phase> Objective::phases() const {
  if (num_phases_ == 1) return kiln::Objective::phases();
  return {Phase{.name = "first"}, Phase{.name = "second"}};
}

std::vector<Parameter> Objective::parameters(std::size_t phase) {
  const Network& n = *network_;
  const std::vector<Parameter> first = {{.name = "weight1", .tensor = n.weight1},
                                        {.name = "bias1", .tensor = n.bias1, .has_decay = false}};
  const std::vector<Parameter> second = {{.name = "weight2", .tensor = n.weight2},
                                         {.name = "bias2", .tensor = n.bias2, .has_decay = false}};
  if (num_phases_ == 2) return phase == 0 ? first : second;
  std::vector<Parameter> all = first;
  all.insert(all.end(), second.begin(), second.end());
  return all;
}

std::optional<Loss> Objective::loss(const Batch& batch, const StepContext& context,
                                    std::size_t phase) {
  if (phase == 0) seen_steps.push_back(context.step);
  if (phase == 1 && context.step % 2 == 1) return std::nullopt;
  const Network& n = *network_;
  const at::Tensor x = batch.at("x").to(precision_);
  const at::Tensor y = at::linear(at::tanh(at::linear(x, n.weight1, n.bias1)), n.weight2, n.bias2);
  const at::Tensor error = (y.to(at::kFloat) - batch.at("y")).square() * batch.at("mask");
  at::Tensor value = error.sum() / batch.denominators.at("targets");
  const bool is_broken_step = broken_step < 0 || broken_step == context.step;
  if (batch.micro_batch == broken_micro_batch && is_broken_step) value = value * broken_factor;
  last_usage_ = batch.at("x").to(at::kDouble).sum(0);
  const double count = batch.at("mask").sum().item<double>();
  return Loss{value, {{"error", {error.sum().detach(), count}}}};
}

std::vector<Buffer> Objective::buffers() { return {{"usage", usage_}}; }
Sums Objective::sums(std::size_t phase) {
  return has_recordable || phase > 0 ? Sums{} : Sums{{"usage", last_usage_}};
}
void Objective::after_step(const StepContext&, const Sums& sums, const Rows&) {
  if (!has_recordable) usage_.mul_(0.9).add_(sums.at("usage"));
}

Loader::Loader(const kiln::Objective& objective, std::int64_t global_batch,
               std::int64_t micro_batch, int rank, int ranks)
    : objective_(objective),
      global_batch_(global_batch),
      micro_batch_(micro_batch),
      rank_(rank),
      ranks_(ranks) {}

bool Loader::is_ready_within(double wait_s) {
  if (missing_step < 0 || samples_seen_ != missing_step * global_batch_) return true;
  std::this_thread::sleep_for(std::chrono::duration<double>(wait_s));
  return false;
}

std::vector<Batch> Loader::next() {
  std::vector<Batch> batches;
  const Range share = share_of(global_batch_ / micro_batch_, rank_, ranks_);
  for (std::int64_t m = share.begin; m < share.end; ++m) {
    batches.push_back(read(samples_seen_, m));
  }
  samples_seen_ += global_batch_;
  return batches;
}

Batch Loader::read(std::int64_t samples_seen, std::int64_t micro_batch) {
  Batch batch;
  batch.micro_batch = micro_batch;
  batch.num_samples = micro_batch_;
  batch.first_position = samples_seen + micro_batch * micro_batch_;
  std::vector<at::Tensor> x;
  for (std::int64_t b = 0; b < micro_batch_; ++b) {
    x.push_back(normal(Purpose::kNoise, batch.first_position + b, {kInputs}));
  }
  batch.tensors["x"] = at::stack(x);
  batch.tensors["y"] =
      at::sin(at::cat({batch.tensors["x"], batch.tensors["x"]}, 1)).narrow(1, 0, kOutputs);
  objective_.prepare(batch, 0);
  return batch;
}

namespace {

constexpr std::int64_t kMicroBatch = 3;

Recipe recipe_of(const TrainingSetup& setup) {
  Recipe recipe;
  recipe.train.steps = setup.steps;
  recipe.train.global_batch = setup.micro_batches * kMicroBatch;
  recipe.train.micro_batch = kMicroBatch;
  recipe.train.clip_norm = setup.clip_norm;
  recipe.train.stop_after = setup.stop_after;
  recipe.optimizer.name = setup.optimizer;
  recipe.optimizer.lr = 0.01;
  recipe.optimizer.weight_decay = 0.05;
  recipe.schedule.warmup_steps = 2;
  recipe.ema.decay = setup.ema_decay;
  recipe.parallel.shard_optimizer = setup.is_sharded;
  recipe.parallel.bucket_mb = setup.bucket_mb;
  recipe.checkpoint.every = setup.save_every;
  recipe.checkpoint.grace_s = setup.grace_s;
  recipe.divergence = setup.divergence;
  recipe.eval.every = setup.evaluate ? 2 : 0;
  recipe.log.every = 1;
  if (setup.change_recipe) setup.change_recipe(recipe);
  return recipe;
}

std::unique_ptr<kiln::Objective> objective_of(const TrainingSetup& setup) {
  if (setup.make_objective) return setup.make_objective();
  auto objective = std::make_unique<Objective>(setup.precision, setup.num_phases);
  objective->broken_micro_batch = setup.broken_micro_batch;
  objective->broken_step = setup.broken_step;
  objective->broken_factor = setup.broken_factor;
  objective->has_recordable = setup.has_recordable;
  objective->targets_per_sample = setup.targets_per_sample;
  return objective;
}

void keep_tensors(kiln::Objective& objective, Outcome& outcome) {
  for (const Buffer& buffer : saved_buffers(objective)) {
    outcome.buffers[buffer.name] = buffer.tensor.detach().clone();
  }
  for (std::size_t phase = 0; phase < objective.phases().size(); ++phase) {
    for (const Parameter& parameter : objective.parameters(phase)) {
      outcome.weights[parameter.name] = parameter.tensor.detach().clone();
    }
  }
}

bool are_equal(const std::map<std::string, at::Tensor>& a,
               const std::map<std::string, at::Tensor>& b) {
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) {
    return x.first == y.first && at::equal(x.second, y.second);
  });
}

}  // namespace

Outcome train_rank(const TrainingSetup& setup, Communicator& communicator, std::int64_t attempt) {
  const Recipe recipe = recipe_of(setup);
  const std::int64_t batch = recipe.train.global_batch;
  const std::int64_t total = setup.steps * batch;
  const std::unique_ptr<kiln::Objective> made = objective_of(setup);
  kiln::Objective& objective = *made;
  Loader loader(objective, batch, kMicroBatch, communicator.rank(), communicator.size());
  if (communicator.rank() == 0) loader.missing_step = setup.missing_step;
  const ExchangeOptions exchange{.is_reproducible = setup.is_reproducible,
                                 .is_sharded = setup.is_sharded && communicator.size() > 1,
                                 .num_micro_batches = setup.micro_batches};
  std::unique_ptr<CheckpointWriter> writer;
  if (!setup.run_dir.empty()) {
    writer =
        std::make_unique<CheckpointWriter>(CheckpointWriter::Options{.run_dir = setup.run_dir,
                                                                     .rank = communicator.rank(),
                                                                     .ranks = communicator.size(),
                                                                     .attempt = attempt,
                                                                     .keep = setup.keep,
                                                                     .async = setup.saves_async});
  }
  Outcome outcome;
  std::int64_t asked = 0;
  TrainerHooks hooks;
  hooks.report = [&](const StepReport& report) {
    outcome.losses.push_back(std::isfinite(report.loss) ? report.loss : -1.0);
    outcome.reports.push_back(report);
  };
  if (setup.is_stop_requested) {
    hooks.is_stop_requested = [&] { return setup.is_stop_requested(communicator.rank(), asked++); };
  }
  hooks.stop_age_s = setup.stop_age_s;
  hooks.evaluate = setup.evaluate;
  hooks.diverged = [&](const Divergence& divergence) { outcome.divergences.push_back(divergence); };
  hooks.checkpoint_to_return_to = [&] {
    return std::move(
        find_newest_checkpoint(setup.run_dir, communicator, recipe.checkpoint.every).reader);
  };
  Trainer trainer({.recipe = recipe,
                   .total_samples = total,
                   .schedule = Schedule(recipe.schedule, *recipe.optimizer.lr, total, 1000, batch),
                   .objective = objective,
                   .loader = loader,
                   .communicator = communicator,
                   .make_exchange =
                       [&](FlatParameters& flat) {
                         return make_gradient_exchange(flat, communicator, exchange);
                       },
                   .make_recorder = setup.make_recorder,
                   .writer = writer.get(),
                   .header = {},
                   .hooks = hooks});
  if (setup.resumes) {
    const auto newest = find_newest_checkpoint(setup.run_dir, communicator);
    trainer.resume(newest.reader.value());
  }
  outcome.code = trainer.run();
  outcome.weights_hash = trainer.weights_hash();
  outcome.step = trainer.step();
  keep_tensors(objective, outcome);
  if (setup.finished) setup.finished(trainer, communicator.rank());
  return outcome;
}

Outcome train(const TrainingSetup& setup) {
  const std::int64_t attempt = setup.run_dir.empty() ? 0 : RunFolder::open(setup.run_dir).attempt();
  auto communicators = make_thread_communicators(setup.ranks, std::chrono::seconds(20));
  std::vector<Outcome> outcomes(communicators.size());
  std::vector<std::exception_ptr> errors(communicators.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t rank = 0; rank < communicators.size(); ++rank) {
      threads.emplace_back([&, rank] {
        try {
          outcomes[rank] = train_rank(setup, *communicators[rank], attempt);
        } catch (...) {
          errors[rank] = std::current_exception();
        }
      });
    }
  }
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  for (const Outcome& outcome : outcomes) {
    KILN_CHECK(outcome.weights_hash == outcomes[0].weights_hash, "ranks differ in their weights");
    KILN_CHECK(outcome.losses == outcomes[0].losses, "ranks differ in their losses");
    KILN_CHECK(are_equal(outcome.buffers, outcomes[0].buffers), "ranks differ in their buffers");
    KILN_CHECK(are_equal(outcome.weights, outcomes[0].weights), "ranks differ in their weights");
    KILN_CHECK(outcome.code == outcomes[0].code && outcome.step == outcomes[0].step);
  }
  return outcomes[0];
}

}  // namespace kiln::toy
