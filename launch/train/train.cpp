#include "launch/train/train.h"

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "core/base/file_io.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/checkpoint_reader.h"
#include "core/checkpoint/run_folder.h"
#include "core/on_all_ranks.h"
#include "core/report/ledger.h"
#include "core/report/log.h"
#include "core/report/metrics_log.h"
#include "core/report/progress_bar.h"
#include "core/schedule/schedule.h"
#include "core/torch.h"
#include "core/training/trainer.h"
#include "dist/flight_recorder.h"
#include "launch/evaluate/training_evaluation.h"
#include "launch/run/data_record.h"
#include "launch/run/device.h"
#include "launch/run/environment.h"
#include "launch/run/make_trainer.h"
#include "launch/run/stop_signal.h"
#include "launch/run/world.h"
#include "launch/train/divergence_log.h"
#include "launch/trained/trained_weights.h"

// From a recipe to the objects of a run. The first of the six files of docs/tour.md.

namespace kiln {

namespace {

/// What the supervisor gives, where it is less than what the recipe says.
void use_launchers_grace(CheckpointOptions& options) {
  const char* text = std::getenv("KILN_GRACE_S");
  const double grace_s = text ? std::atof(text) : 0.0;
  if (grace_s > 0 && (options.grace_s == 0 || grace_s < options.grace_s)) options.grace_s = grace_s;
}

/// RUN/, which rank 0 holds for all of them.
struct HeldFolder {
  std::filesystem::path path;
  std::int64_t attempt = 0;
  std::optional<RunFolder> lock;  // rank 0
};

/// Long before the first save, rather than at it.
void check_room(const TrainingSetup& setup, const std::filesystem::path& folder) {
  const auto needed = static_cast<std::uint64_t>(checkpoint_bytes(setup));
  const std::uint64_t available = posix_file_system().free_bytes(folder);
  if (available >= needed) return;
  throw checkpoint_error(
      "no room for a single checkpoint in {}: {} free, {} needed. Free some space, or choose "
      "another run.dir",
      folder.string(), format_bytes(static_cast<double>(available)),
      format_bytes(static_cast<double>(needed)));
}

HeldFolder hold_run_folder(const TrainingSetup& setup, World& world) {
  HeldFolder held{.path = setup.recipe.run.dir, .attempt = 0, .lock = {}};
  const at::Tensor attempt = at::zeros({1}, at::kLong);
  run_on_all_ranks(world.communicator(), [&] {
    if (world.rank() != 0) return;
    held.lock.emplace(RunFolder::open(held.path));
    attempt.fill_(held.lock->attempt());
    check_room(setup, held.path);
  });
  world.communicator().broadcast(attempt, 0).wait();
  held.attempt = attempt.item<std::int64_t>();
  log_to_folder(held.path);
  run_on_all_ranks(world.communicator(), [&] { open_flight_record(held.path, world.rank()); });
  return held;
}

void check_ranks(const TrainingSetup& setup, World& world) {
  if (world.size() > setup.num_micro_batches()) {
    throw usage_error(
        "{} ranks for {} micro-batches: train.global_batch = {} is cut into micro-batches of "
        "train.micro_batch = {}, and every rank needs one. Start fewer ranks, or make "
        "train.micro_batch smaller",
        world.size(), setup.num_micro_batches(), setup.recipe.train.global_batch,
        setup.recipe.train.micro_batch);
  }
  check_equal_on_all_ranks(world.communicator(), "recipe", setup.recipe_hash());
}

CheckpointState checkpoint_header(const TrainingSetup& setup) {
  CheckpointState header;
  header.identity = setup.identity();
  header.environment = environment_facts();
  header.recipe_hash = setup.recipe_hash();
  header.dataset_fingerprint = setup.data.info.fingerprint;
  return header;
}

CheckpointWriter::Options writer_options(const TrainingSetup& setup, const HeldFolder& folder,
                                         World& world) {
  const CheckpointOptions& options = setup.recipe.checkpoint;
  return {.run_dir = folder.path,
          .rank = world.rank(),
          .ranks = world.size(),
          .attempt = folder.attempt,
          .keep = options.keep,
          .keep_every = options.keep_every,
          .async = options.async};
}

/// Goes on from the newest valid checkpoint, or takes the weights run.init_from names, or neither.
void restore(Trainer& trainer, TrainingSetup& setup, const NewestCheckpoint& newest) {
  for (const PassedOver& passed : newest.passed_over) {
    log_warning("passing over {}: {}", passed.folder.string(), passed.reason);
  }
  const RunOptions& run = setup.recipe.run;
  if (newest.reader) {
    const auto& manifest = newest.reader->manifest();
    for (const std::string& key : check_identity(manifest.identity, setup.identity(),
                                                 run.allow_change, newest.reader->folder())) {
      log_warning("{} differs from the run so far, as run.allow_change says", key);
    }
    trainer.resume(*newest.reader);
    log_info("going on from {}", newest.reader->folder().string());
  } else if (!run.init_from.empty()) {
    const auto source = std::make_shared<TrainedWeights>(TrainedWeights::open(run.init_from));
    check_tokenizer(*source, setup.data.info);
    trainer.load_weights(weights_or_initial(source, *setup.objective));
    log_info("weights from {}", run.init_from);
  }
}

/// One whose step is due by checkpoint.every, so that it does not depend on how often the run was
/// stopped in between.
std::optional<CheckpointReader> checkpoint_to_return_to(const TrainingSetup& setup,
                                                        const HeldFolder& folder, World& world) {
  const std::int64_t every = setup.recipe.checkpoint.every;
  if (every == 0) return {};
  NewestCheckpoint newest = find_newest_checkpoint(folder.path, world.communicator(), every);
  if (newest.reader) log_warning("rolling back to {}", newest.reader->folder().string());
  return std::move(newest.reader);
}

void write_description(const TrainingSetup& setup, const HeldFolder& folder) {
  if (!folder.lock) return;
  write_file_atomically(posix_file_system(), folder.path / "recipe.toml",
                        setup.reader.resolved_toml());
  write_data_info(folder.path, setup.data.info);
}

MetricsLog::Options log_options(const TrainingSetup& setup, const HeldFolder& folder,
                                const Trainer& trainer, at::Device device, int ranks) {
  return {.run_folder = folder.path,
          .total_samples = setup.total_samples,
          .samples_seen = trainer.samples_seen(),
          .first_step = trainer.step(),
          .flops_per_sample = flops_per_sample(setup),
          .peak_flops = ranks * peak_flops(device, setup.recipe.run.precision)};
}

nlohmann::json result_of(const Trainer& trainer, const HeldFolder& folder,
                         std::int64_t first_sample, double seconds) {
  const std::int64_t done = trainer.samples_seen() - first_sample;
  return {{"step", trainer.step()},
          {"samples", trainer.samples_seen()},
          {"loss", done > 0 ? nlohmann::json(trainer.loss()) : nlohmann::json(nullptr)},
          {"samples_per_s", done > 0 ? static_cast<double>(done) / seconds : 0.0},
          {"weights_hash", trainer.weights_hash()},
          {"run_dir", folder.path.string()}};
}

}  // namespace

CommandResult train_in(World& world, TrainingSetup& setup) {
  use_launchers_grace(setup.recipe.checkpoint);
  const Recipe& recipe = setup.recipe;
  use_threads(recipe, world);
  check_ranks(setup, world);
  const at::Device device = device_of_run(recipe.run, world);
  setup.objective->module().to(device);

  std::optional<TrainingEvaluation> evaluation;  // opened first: it may find mistakes
  if (recipe.eval.every > 0) evaluation.emplace(setup, world, device);

  HeldFolder folder = hold_run_folder(setup, world);
  const NewestCheckpoint newest = find_newest_checkpoint(folder.path, world.communicator());
  CheckpointWriter writer(writer_options(setup, folder, world));
  std::optional<MetricsLog> log;
  TrainerExtras extras{.writer = &writer, .header = checkpoint_header(setup)};
  extras.hooks = {.is_stop_requested = is_stop_requested, .stop_age_s = stop_age_s};
  extras.hooks.report = [&](const StepReport& report) {
    if (log) log->report(report);
  };
  extras.hooks.evaluate = [&](Trainer& at_step) {
    if (evaluation) evaluation->run(at_step, folder.path, log ? &*log : nullptr);
  };
  extras.hooks.diverged = [&](const Divergence& divergence) {
    if (world.rank() == 0) log_divergence(divergence, setup, folder.path);
  };
  extras.hooks.checkpoint_to_return_to = [&] {
    return checkpoint_to_return_to(setup, folder, world);
  };
  extras.wrap_loader = [&](std::unique_ptr<Loader> loader) -> std::unique_ptr<Loader> {
    if (!recipe.log.ledger) return loader;
    return std::make_unique<LedgerLoader>(std::move(loader), folder.path, world.rank(),
                                          recipe.train.global_batch);
  };
  const MadeTrainer made = make_trainer(setup, world, device, std::move(extras));
  Trainer& trainer = *made.trainer;
  restore(trainer, setup, newest);
  write_description(setup, folder);
  if (world.rank() == 0) log.emplace(log_options(setup, folder, trainer, device, world.size()));

  const std::int64_t first_sample = trainer.samples_seen();
  const auto start = std::chrono::steady_clock::now();
  const ExitCode code = trainer.run();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  log.reset();
  log_info("{} after step {} in {}", code == ExitCode::kStopped ? "stopped and saved" : "done",
           trainer.step(), folder.path.string());
  return {code, result_of(trainer, folder, first_sample, seconds.count())};
}

CommandResult train(TrainingSetup setup) {
  install_stop_signals();
  return run_in_world(setup.recipe.parallel.timeout_s,
                      [&](World& world) { return train_in(world, setup); });
}

}  // namespace kiln
