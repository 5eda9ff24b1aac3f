#include "launch/doctor/replay.h"

#include <cmath>
#include <fstream>
#include <optional>

#include "core/checkpoint/checkpoint_reader.h"
#include "core/optimizer/flat_backward.h"
#include "core/report/log.h"
#include "core/schedule/value_schedules.h"
#include "core/torch.h"
#include "core/training/coupled_pass.h"
#include "core/training/trainer.h"
#include "launch/run/device.h"
#include "launch/run/make_trainer.h"
#include "launch/run/world.h"
#include "launch/trained/trained_weights.h"

namespace kiln {

namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// The newest valid checkpoint before `step`; none: the run began there.
std::optional<CheckpointReader> nearest_checkpoint(const ReplayArgs& args) {
  for (const CheckpointFolder& folder : list_checkpoint_folders(args.run)) {
    if (folder.step >= args.step) continue;
    try {
      CheckpointReader reader(folder.path);
      reader.verify();
      return reader;
    } catch (const Error& error) {
      log_warning("passing over {}: {}", folder.path.string(), error.what());
    }
  }
  return {};
}

/// Bits depend on the number of threads, so the replay uses as many as the run.
void use_threads_of(const std::optional<CheckpointReader>& checkpoint, const Recipe& recipe,
                    World& world) {
  use_threads(recipe, world);
  if (!checkpoint) return;
  const auto& facts = checkpoint->manifest().environment;
  if (const auto found = facts.find("threads"); found != facts.end()) {
    at::set_num_threads(std::max(1, std::atoi(found->second.c_str())));
  }
}

/// The line of metrics.jsonl about a step, or null.
Json logged(const std::filesystem::path& run, std::int64_t step) {
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    Json parsed = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_object() && parsed.contains("loss") && parsed.value("step", -1) == step) {
      return {{"loss", parsed["loss"]}, {"grad_norm", parsed["grad_norm"]}};
    }
  }
  return nullptr;
}

std::string hash_of_gradients(const std::vector<Parameter>& parameters) {
  Xxh3Stream stream;
  for (const Parameter& parameter : parameters) {
    if (!parameter.tensor.grad().defined()) continue;
    const at::Tensor gradient = parameter.tensor.grad().detach().cpu().contiguous();
    stream.update(gradient.data_ptr(), gradient.nbytes());
  }
  return stream.digest().hex();
}

void zero_gradients(const std::vector<Parameter>& parameters) {
  for (const Parameter& parameter : parameters) {
    if (parameter.tensor.grad().defined()) parameter.tensor.grad().zero_();
  }
}

/// Exchanges nothing: notes the hash of what each micro-batch of a coupled phase leaves.
class NotedGradients final : public GradientExchange {
 public:
  explicit NotedGradients(std::vector<Parameter> parameters) : parameters_(std::move(parameters)) {}
  void begin_step() override {}
  void begin(std::int64_t, bool) override { zero_gradients(parameters_); }
  void end_micro_batch() override { hashes.push_back(hash_of_gradients(parameters_)); }
  void finish() override {}
  const std::vector<Range>& owned() const override { return owned_; }
  at::Tensor gradient(Range) override { return {}; }
  void share_weights() override {}

  std::vector<std::string> hashes;  // by micro-batch

 private:
  std::vector<Parameter> parameters_;
  std::vector<Range> owned_;
};

class Replay {
 public:
  Replay(const ReplayArgs& args, TrainingSetup& setup, World& world)
      : args_(args),
        setup_(setup),
        world_(world),
        device_(device_of_run(setup.recipe.run, world)),
        batch_(setup.recipe.train.global_batch) {}

  Json run() {
    const auto checkpoint = nearest_checkpoint(args_);
    use_threads_of(checkpoint, setup_.recipe, world_);
    go_to_step(checkpoint);
    load_batches();
    const Json first = look(), second = look();
    const double norm = gradient_norm(), norm_again = gradient_norm();
    const bool is_repeatable =
        first == second && (norm == norm_again || (std::isnan(norm) && std::isnan(norm_again)));
    Json result = {{"step", args_.step},
                   {"from_step", checkpoint ? checkpoint->step() : 0},
                   {"loss", number(loss_)},
                   {"grad_norm", number(norm)},
                   {"is_repeatable", is_repeatable},
                   {"logged", logged(args_.run, args_.step)},
                   {"micro_batches", first}};
    result["verdict"] = verdict(is_repeatable, result);
    add_samples(result);
    return result;
  }

 private:
  /// Leaves the objective as the run had it before the step.
  void go_to_step(const std::optional<CheckpointReader>& checkpoint) {
    Recipe& recipe = setup_.recipe;
    recipe.train.stop_after = args_.step - 1;
    recipe.log.every = recipe.train.stop_after + 1;
    recipe.parallel.shard_optimizer = false;
    const MadeTrainer made = make_trainer(setup_, world_, device_, {});
    Trainer& trainer = *made.trainer;
    if (checkpoint) {
      trainer.resume(*checkpoint);
      log_info("replaying from {}", checkpoint->folder().string());
    } else if (!recipe.run.init_from.empty()) {
      const auto source =
          std::make_shared<TrainedWeights>(TrainedWeights::open(recipe.run.init_from));
      trainer.load_weights(weights_or_initial(source, *setup_.objective));
    }
    trainer.initialise();
    if (args_.step > 1 && trainer.step() < args_.step - 1) trainer.run();
    setup_.objective->module().train();
    for (std::size_t phase = 0; phase < setup_.objective->phases().size(); ++phase) {
      for (Parameter& parameter : setup_.objective->parameters(phase)) {
        parameter.tensor.requires_grad_(phase == 0);
      }
    }
  }

  void load_batches() {
    const std::unique_ptr<Loader> loader = make_loader(setup_, world_, device_);
    loader->start((args_.step - 1) * batch_);
    batches_ = loader->next();
    const auto weights = sum_of_denominators(batches_);
    for (Batch& batch : batches_) {
      batch.denominators = weights;
      for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(device_);
    }
  }

  StepContext context() const {
    const ValueSchedules values(setup_.objective->schedules(), setup_.recipe.schedules,
                                {.total_samples = setup_.total_samples,
                                 .samples_per_epoch = setup_.data.info.num_samples,
                                 .global_batch = batch_});
    return {.step = args_.step - 1,
            .samples_seen = (args_.step - 1) * batch_,
            .total_samples = setup_.total_samples,
            .global_batch = batch_,
            .seed = static_cast<std::uint64_t>(setup_.recipe.run.seed),
            .is_training = true,
            .values = values.at((args_.step - 1) * batch_)};
  }

  bool rests() const { return setup_.objective->rests(context(), 0); }
  bool is_coupled() const { return setup_.objective->phases().at(0).is_coupled; }
  double add_coupled_gradients(GradientExchange& exchange) {
    Communicator& communicator = world_.communicator();
    OrderedSums sums(communicator, setup_.num_micro_batches());
    CoupledPass pass(*setup_.objective, 0, exchange, communicator, communicator,
                     setup_.num_micro_batches());
    return pass.run(batches_, context(), sums).value.item<double>();
  }

  /// As look(), where the loss is one of all micro-batches: it stands in each line.
  Json look_at_coupled() {
    NotedGradients noted(setup_.objective->parameters(0));
    loss_ = add_coupled_gradients(noted);
    Json lines = Json::array();
    for (const Batch& batch : batches_) {
      if (args_.micro_batch >= 0 && batch.micro_batch != args_.micro_batch) continue;
      lines.push_back(
          {{"micro_batch", batch.micro_batch},
           {"first_position", batch.first_position},
           {"loss", number(loss_)},
           {"gradient_hash", noted.hashes.at(static_cast<std::size_t>(batch.micro_batch))}});
    }
    return lines;
  }

  /// Loss and hash of the gradient of each micro-batch by itself.
  Json look() {
    if (rests()) return Json::array();
    if (is_coupled()) return look_at_coupled();
    const std::vector<Parameter> parameters = setup_.objective->parameters(0);
    Json lines = Json::array();
    loss_ = 0.0;
    for (const Batch& batch : batches_) {
      if (args_.micro_batch >= 0 && batch.micro_batch != args_.micro_batch) continue;
      zero_gradients(parameters);
      const std::optional<Loss> loss = setup_.objective->loss(batch, context(), 0);
      if (!loss) continue;
      loss->value.backward();
      const double value = loss->value.item<double>();
      loss_ += value;
      lines.push_back({{"micro_batch", batch.micro_batch},
                       {"first_position", batch.first_position},
                       {"loss", number(value)},
                       {"gradient_hash", hash_of_gradients(parameters)}});
    }
    return lines;
  }

  /// The gradient norm of the step, added up as in the run.
  double gradient_norm() {
    if (args_.micro_batch >= 0 || rests()) return 0.0;
    TrainingPhase::Options options;
    options.optimizer = setup_.recipe.optimizer;
    options.bucket_bytes = std::llround(setup_.recipe.parallel.bucket_mb * 0x1p20);
    TrainingPhase phase("replay", setup_.objective->parameters(0), options,
                        make_exchange(setup_, world_.communicator()), world_.communicator());
    GradientExchange& exchange = phase.exchange();
    if (is_coupled()) {
      add_coupled_gradients(exchange);
      exchange.finish();
      return phase.gradient_norm();
    }
    exchange.begin_step();
    for (const Batch& batch : batches_) {
      const std::optional<Loss> loss = setup_.objective->loss(batch, context(), 0);
      if (!loss) return 0.0;
      exchange.begin(batch.micro_batch, &batch == &batches_.back());
      {
        const FlatBackward scope;
        loss->value.backward();
      }
      exchange.end_micro_batch();
    }
    exchange.finish();
    return phase.gradient_norm();
  }

  std::string verdict(bool is_repeatable, const Json& result) const {
    if (!is_repeatable) {
      return "the same work gave other bits the second time: this machine, or a kernel that is not "
             "deterministic, is at fault";
    }
    const Json& line = result["logged"];
    if (line.is_null() || args_.micro_batch >= 0) return "the same bits twice";
    const bool is_exact = setup_.recipe.run.reproducible;
    const auto agree = [&](const char* key) {
      if (line[key].is_null() || result[key].is_null()) return line[key] == result[key];
      const double there = line[key], here = result[key];
      return is_exact ? there == here : std::abs(there - here) <= 1e-3 * std::abs(there);
    };
    if (!agree("loss") || !agree("grad_norm")) {
      return "the same bits twice here, but not what the run logged: the machine that ran it is at "
             "fault, or data or program have changed since";
    }
    return is_exact ? "the run's figures, bit for bit: what they show comes from data and recipe"
                    : "the run's figures, up to the rounding of fast mode: what they show comes "
                      "from data and recipe";
  }

  /// Losses of single samples, where the model can be given one.
  void add_samples(Json& result) {
    const SampleOrder order(setup_.data.order);
    for (Json& line : result["micro_batches"]) {
      if (args_.micro_batch < 0 && !line["loss"].is_null()) continue;
      for (const Batch& batch : batches_) {
        if (batch.micro_batch == line["micro_batch"]) line["samples"] = samples_of(batch, order);
      }
    }
  }

  Json samples_of(const Batch& batch, const SampleOrder& order) {
    const at::NoGradGuard no_grad;
    Json lines = Json::array();
    for (std::int64_t b = 0; b < batch.num_samples; ++b) {
      Batch one = batch;
      one.first_position = batch.first_position + b;
      one.num_samples = 1;
      for (auto& [name, tensor] : one.tensors) {
        if (tensor.dim() > 0 && tensor.size(0) == batch.num_samples)
          tensor = tensor.narrow(0, b, 1);
      }
      Json loss = nullptr;
      try {
        if (const auto value = setup_.objective->loss(one, context(), 0)) {
          loss = number(value->value.item<double>());
        }
      } catch (const std::exception&) {
        loss = "not computed one by one";
      }
      const std::int64_t sample = order.at(one.first_position);
      lines.push_back({{"position", one.first_position},
                       {"sample", sample},
                       {"place", setup_.data.source->describe(sample)},
                       {"loss", loss}});
    }
    return lines;
  }

  const ReplayArgs& args_;
  TrainingSetup& setup_;
  World& world_;
  const at::Device device_;
  const std::int64_t batch_;
  std::vector<Batch> batches_;
  double loss_ = 0.0;
};

}  // namespace

CommandResult replay(const ReplayArgs& args) {
  if (!std::filesystem::exists(args.run / "recipe.toml")) {
    throw usage_error("'{}' is no run: it has no recipe.toml", args.run.string());
  }
  TrainingSetup setup =
      read_training_setup(RecipeReader::from_file(args.run / "recipe.toml", args.overrides));
  if (args.micro_batch >= setup.num_micro_batches()) {
    throw usage_error("--micro-batch {}: a step has {}, counted from 0", args.micro_batch,
                      setup.num_micro_batches());
  }
  return run_in_world(setup.recipe.parallel.timeout_s, [&](World& world) {
    if (world.size() > 1) throw usage_error("kiln replay runs on one process: start it alone");
    return CommandResult{ExitCode::kDone, Replay(args, setup, world).run()};
  });
}

}  // namespace kiln
