#include "launch/bench/bench.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <map>
#include <memory>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "launch/run/make_trainer.h"

namespace kiln {

std::vector<double> seconds_of(std::int64_t repeats, const std::function<void()>& call) {
  std::vector<double> seconds;
  for (std::int64_t i = 0; i <= repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (i > 0) seconds.push_back(elapsed.count());
  }
  return seconds;
}

std::vector<double> rates(double amount, const std::vector<double>& seconds) {
  std::vector<double> result;
  for (const double value : seconds) result.push_back(amount / value);
  return result;
}

Spread copy_rate(std::int64_t num_bytes, std::int64_t repeats) {
  const auto size = static_cast<std::size_t>(num_bytes);
  const auto from = std::make_unique<char[]>(size), to = std::make_unique<char[]>(size);
  std::memset(from.get(), 1, size);
  return spread_of(
      rates(static_cast<double>(num_bytes), seconds_of(repeats, [&] {
              std::memcpy(to.get(), from.get(), size);
              asm volatile("" : : "r"(to.get()) : "memory");  // the copy is wanted for its own sake
            })));
}

namespace {

void print(const Json& json, const std::string& prefix = "") {
  for (const auto& [name, value] : json.items()) {
    if (value.is_object() && value.contains("median")) {
      fmt::print("{:44} {:12.5g}   [{:.5g} .. {:.5g}]\n", prefix + name,
                 value["median"].get<double>(), value["min"].get<double>(),
                 value["max"].get<double>());
    } else if (value.is_object() && value.contains("calls")) {
      fmt::print("{:>9.3f} ms {:>6.1f} calls  {}\n", value["seconds"].get<double>() * 1e3,
                 value["calls"].get<double>(), name);
    } else if (value.is_object()) {
      print(value, prefix + name + ".");
    } else {
      fmt::print("{:44} {}\n", prefix + name, value.dump());
    }
  }
}

Json measure(World& world, TrainingSetup& setup, const BenchArgs& args) {
  if (args.what == "step") return bench_step(world, setup, args.repeats);
  if (args.what == "profile") return bench_profile(world, setup, args.repeats);
  if (args.what == "comm") return bench_comm(world, setup, args.repeats);
  if (args.what == "kernels") return bench_kernels(world, setup, args.repeats);
  if (args.what == "loader") return bench_loader(world, setup, args.repeats);
  if (args.what == "checkpoint") return bench_checkpoint(world, setup, args.repeats);
  throw usage_error("{}", unknown_name("bench", args.what,
                                       {"step", "profile", "comm", "kernels", "loader",
                                        "checkpoint", "startup", "recovery"}));
}

}  // namespace

CommandResult bench(const BenchArgs& args) {
  const auto finish = [&](Json figures, int rank) {
    figures["bench"] = args.what;
    if (rank == 0) print(figures);
    return CommandResult{ExitCode::kDone, figures};
  };
  if (args.what == "startup") return finish(bench_startup(args), 0);
  if (args.what == "recovery") return finish(bench_recovery(args), 0);
  RecipeReader reader = RecipeReader::from_file(args.recipe, args.overrides);
  TrainingSetup setup = args.what == "loader" ? read_loader_setup(std::move(reader))
                                              : read_training_setup(std::move(reader));
  return run_in_world(setup.recipe.parallel.timeout_s, [&](World& world) {
    use_threads(setup.recipe, world);
    Json figures = measure(world, setup, args);
    figures["ranks"] = world.size();
    figures["cores_per_rank"] = world.cores();
    return finish(std::move(figures), world.rank());
  });
}

}  // namespace kiln
