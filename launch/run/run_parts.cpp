#include "launch/run/run_parts.h"

#include "core/device/device_copies.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "data/loader.h"
#include "dist/gradient_exchange.h"

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

}  // namespace kiln
