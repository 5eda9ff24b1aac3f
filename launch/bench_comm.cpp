#include <ATen/ATen.h>

#include <cmath>

#include "launch/bench.h"

namespace kiln {

/// All-reduce of the sizes training sends: small ones, one bucket, the whole gradient.
Json bench_comm(World& world, const TrainingSetup& setup, std::int64_t repeats) {
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
  figures["ceiling"] = {{"memcpy_bytes_per_s", to_json(copy_rate(4 * parameters, 5))}};
  return figures;
}

}  // namespace kiln
