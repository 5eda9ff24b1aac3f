#include <ATen/ATen.h>

#include <cmath>

#include "dist/gradient_exchange.h"
#include "launch/bench/bench.h"
#include "launch/run/make_trainer.h"

namespace kiln {

namespace {

/// Exchange of the whole gradient of one step without backward beside it: seconds per step.
std::vector<double> exchange_seconds(World& world, const TrainingSetup& setup, bool is_reproducible,
                                     std::int64_t repeats) {
  ExchangeOptions options;
  options.is_reproducible = is_reproducible;
  options.num_micro_batches = setup.num_micro_batches();
  FlatParameters flat(setup.objective->parameters(0),
                      std::llround(setup.recipe.parallel.bucket_mb * 0x1p20), world.size());
  const auto exchange = make_gradient_exchange(flat, world.communicator(), options);
  const Range share = share_of(options.num_micro_batches, world.rank(), world.size());
  return seconds_of(repeats, [&] {
    exchange->begin_step();
    for (std::int64_t m = share.begin; m < share.end; ++m) {
      exchange->begin(m, m + 1 == share.end);
      exchange->end_micro_batch();
    }
    exchange->finish();
    world.communicator().barrier();
  });
}

Json both_modes(World& world, const TrainingSetup& setup, std::int64_t repeats) {
  const Spread fast = spread_of(exchange_seconds(world, setup, false, repeats));
  const Spread reproducible = spread_of(exchange_seconds(world, setup, true, repeats));
  return {{"micro_batches", setup.num_micro_batches()},
          {"fast_s", to_json(fast)},
          {"reproducible_s", to_json(reproducible)},
          {"reproducible_over_fast", reproducible.median / fast.median}};
}

}  // namespace

/// All-reduce of the sizes training sends: small ones, one bucket, the whole gradient; and the
/// exchange of a step in both modes.
Json bench_comm(World& world, TrainingSetup& setup, std::int64_t repeats) {
  std::int64_t parameters = 0;
  for (const Parameter& parameter : setup.objective->parameters(0)) {
    parameters += parameter.tensor.numel();
  }
  const auto bucket = std::llround(setup.recipe.parallel.bucket_mb * 0x1p20 / 4);
  const double ranks = world.size();
  Json sizes = Json::array();
  for (const std::int64_t numel : {std::int64_t{1}, std::int64_t{1} << 14,
                                   std::min<std::int64_t>(bucket, parameters), parameters}) {
    const at::Tensor tensor = at::ones({numel});
    const auto seconds = seconds_of(repeats, [&] {
      world.communicator().all_reduce(tensor).wait();
      tensor.fill_(1.0f);
    });
    // What a ring sends and receives per rank, so that figures of different W compare.
    const double bytes = 4.0 * static_cast<double>(numel);
    sizes.push_back(
        {{"bytes", bytes},
         {"seconds", to_json(spread_of(seconds))},
         {"bus_bytes_per_s", to_json(spread_of(rates(2 * (ranks - 1) / ranks * bytes, seconds)))}});
  }
  Json figures = {{"communicator", world.communicator().name()}, {"all_reduce", sizes}};
  figures["exchange"] = both_modes(world, setup, repeats);
  figures["ceiling"] = {{"memcpy_bytes_per_s", to_json(copy_rate(4 * parameters, 5))}};
  return figures;
}

}  // namespace kiln
