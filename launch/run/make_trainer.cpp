#include "launch/run/make_trainer.h"

#include <chrono>
#include <cmath>

#include "core/device/device_copies.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "data/loader.h"
#include "dist/gradient_exchange.h"
#include "dist/nccl/nccl_communicator.h"

namespace kiln {

void use_threads(const Recipe& recipe, World& world) {
  const std::int64_t threads = recipe.run.threads > 0 ? recipe.run.threads : world.cores();
  at::set_num_threads(static_cast<int>(threads));
}

std::unique_ptr<Loader> make_loader(const TrainingSetup& setup, World& world, at::Device device) {
  const Recipe& recipe = setup.recipe;
  LoaderOptions options;
  options.global_batch = recipe.train.global_batch;
  options.micro_batch = recipe.train.micro_batch;
  options.rank = world.rank();
  options.num_ranks = world.size();
  options.num_threads = setup.data.workers > 0 ? setup.data.workers : world.cores();
  options.timeout_s = recipe.parallel.timeout_s;
  const auto prepare = [objective = setup.objective.get(), seed = recipe.run.seed,
                        is_pinned = device.is_cuda()](Batch& batch) {
    if (objective) objective->prepare(batch, static_cast<std::uint64_t>(seed));
    if (is_pinned) pin(batch);
  };
  return std::make_unique<ThreadedLoader>(setup.data.source, SampleOrder(setup.data.order), options,
                                          prepare);
}

MakeExchange make_exchange(const TrainingSetup& setup, Communicator& communicator) {
  ExchangeOptions options;
  options.is_reproducible = setup.recipe.run.reproducible;
  options.is_sharded = setup.recipe.parallel.shard_optimizer && communicator.size() > 1;
  options.reduce_dtype = setup.recipe.parallel.reduce_dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  options.num_micro_batches = setup.num_micro_batches();
  return [options, &communicator](FlatParameters& flat) {
    return make_gradient_exchange(flat, communicator, options);
  };
}

namespace {

/// As run.cuda_graph asks; empty, with a warning, where there would be nothing to replay.
MakeRecorder make_recorder(const TrainingSetup& setup, World& world, at::Device device) {
  if (!setup.recipe.run.cuda_graph) return {};
  if (!device.is_cuda()) {
    log_warning("run.cuda_graph: this run is on the CPU; every micro-batch runs plain");
    return {};
  }
  if (world.size() > 1 && setup.num_micro_batches() <= world.size()) {
    log_warning(
        "run.cuda_graph: {} ranks share {} micro-batches; a rank's last one runs plain, to send "
        "its gradients during backward, so there is none to replay. Make train.micro_batch smaller "
        "or set run.cuda_graph=false",
        world.size(), setup.num_micro_batches());
    return {};
  }
  return [device] { return make_gpu_recorder(device); };
}

/// For gradients on the GPUs of several ranks; null for one rank, and on the host.
std::unique_ptr<Communicator> connect_gpus(at::Device device, double timeout_s, World& world) {
  if (!device.is_cuda() || world.size() == 1) return nullptr;
  const std::chrono::milliseconds timeout(std::llround(timeout_s * 1e3));
  return make_nccl_communicator(world.communicator(),
                                {.timeout = timeout, .device = device.index()});
}

}  // namespace

MadeTrainer make_trainer(const TrainingSetup& setup, World& world, at::Device device,
                         TrainerExtras extras) {
  const Recipe& recipe = setup.recipe;
  setup.objective->module().to(device);
  MadeTrainer made;
  made.gpus = connect_gpus(device, recipe.parallel.timeout_s, world);
  made.loader = make_loader(setup, world, device);
  if (extras.wrap_loader) made.loader = extras.wrap_loader(std::move(made.loader));
  made.trainer = std::make_unique<Trainer>(Trainer::Parts{
      .recipe = recipe,
      .total_samples = setup.total_samples,
      .schedule = Schedule(recipe.schedule, recipe.optimizer.lr.value(), setup.total_samples,
                           setup.data.info.num_samples, recipe.train.global_batch),
      .objective = *setup.objective,
      .loader = *made.loader,
      .communicator = world.communicator(),
      .device_communicator = made.gpus.get(),
      .make_exchange = make_exchange(setup, made.gpus ? *made.gpus : world.communicator()),
      .make_recorder = make_recorder(setup, world, device),
      .writer = extras.writer,
      .header = std::move(extras.header),
      .device = device,
      .hooks = std::move(extras.hooks)});
  return made;
}

}  // namespace kiln
