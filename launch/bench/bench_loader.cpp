#include <chrono>

#include "core/loader.h"
#include "launch/bench/bench.h"
#include "launch/run/run_parts.h"

namespace kiln {

/// Samples per second that reader threads deliver to a loop that does nothing else, over all ranks
/// and per thread; the ceiling is copying the bytes of the batches once.
Json bench_loader(World& world, TrainingSetup& setup, std::int64_t repeats) {
  const std::unique_ptr<Loader> loader = make_loader(setup, world, at::kCPU);
  loader->start(0);
  std::int64_t batch_bytes = 0;
  const auto read_step = [&] {
    batch_bytes = 0;
    for (const Batch& batch : loader->next()) {
      for (const auto& [name, tensor] : batch.tensors) {
        batch_bytes += static_cast<std::int64_t>(tensor.nbytes());
      }
    }
  };
  for (int i = 0; i < 3; ++i) read_step();  // what was read ahead before the clock started
  const std::vector<double> seconds = seconds_of(repeats, read_step);
  const double samples = static_cast<double>(setup.recipe.train.global_batch);
  const double total_s = [&] {
    double sum = 0;
    for (const double value : seconds) sum += value;
    return sum;
  }();
  const std::int64_t threads = setup.data.workers > 0 ? setup.data.workers : world.cores();
  const double mean_rate = samples * static_cast<double>(repeats) / total_s;
  const Spread copied = copy_rate(std::max<std::int64_t>(batch_bytes, 1), 10);
  const double share = samples / world.size();
  return {{"samples_per_s", to_json(spread_of(rates(samples, seconds)))},
          {"samples_per_s_mean", mean_rate},
          {"samples_per_s_per_thread", mean_rate / static_cast<double>(threads * world.size())},
          {"threads", threads},
          {"bytes_per_sample", static_cast<double>(batch_bytes) / share},
          {"ceiling",
           {{"memcpy_samples_per_s",
             copied.median * share / static_cast<double>(std::max<std::int64_t>(batch_bytes, 1)) *
                 world.size()}}}};
}

}  // namespace kiln
