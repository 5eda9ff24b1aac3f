#include <sys/resource.h>

#include "core/loader.h"
#include "launch/bench/bench.h"
#include "launch/run/make_trainer.h"

namespace kiln {
namespace {

// Seconds of processor time that all threads of this process have had.
double cpu_s() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

/// Samples per second that reader threads deliver to a loop that does nothing else, over all ranks
/// and per thread, and per second of processor time: what a core does where others keep it from working.
/// The ceiling is copying the bytes of the batches once.
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
  const double cpu_before_s = cpu_s();
  const std::vector<double> seconds = seconds_of(repeats, read_step);
  const double used_s = cpu_s() - cpu_before_s;
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
          // One step more than is timed; readers are as far ahead at the end as at the beginning.
          {"samples_per_cpu_s", samples / world.size() * static_cast<double>(repeats + 1) / used_s},
          {"threads", threads},
          {"bytes_per_sample", static_cast<double>(batch_bytes) / share},
          {"ceiling",
           {{"memcpy_samples_per_s",
             copied.median * share / static_cast<double>(std::max<std::int64_t>(batch_bytes, 1)) *
                 world.size()}}}};
}

}  // namespace kiln
