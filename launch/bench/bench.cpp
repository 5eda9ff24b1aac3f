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
              asm volatile("" : : "r"(to.get()) : "memory");  // only the time of the copy matters
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

const Bench& find_bench(const std::string& name) {
  std::vector<std::string> names;
  for (const Bench& row : bench_table()) {
    if (row.name == name) return row;
    names.push_back(row.name);
  }
  throw usage_error("{}", unknown_name("bench", name, names));
}

}  // namespace

const std::vector<Bench>& bench_table() {
  static const std::vector<Bench> table = {
      {"step", "training steps against the peak of matrix products", bench_step},
      {"profile", "where the time of those steps goes", bench_profile},
      {"comm", "all-reduce", bench_comm},
      {"kernels", "fused operators beside their plain versions", bench_kernels},
      {"loader", "reading and decoding", bench_loader},
      {"checkpoint", "stall and bandwidth", bench_checkpoint},
      {"startup", "to the first step", nullptr, bench_startup},
      {"recovery", "from the kill of a rank to the next step", nullptr, bench_recovery},
  };
  return table;
}

CommandResult bench(const BenchArgs& args) {
  const auto finish = [&](Json figures, int rank) {
    figures["bench"] = args.what;
    if (rank == 0) print(figures);
    return CommandResult{ExitCode::kDone, figures};
  };
  const Bench& row = find_bench(args.what);
  if (row.alone) return finish(row.alone(args), 0);
  RecipeReader reader = RecipeReader::from_file(args.recipe, args.overrides);
  TrainingSetup setup = args.what == "loader" ? read_loader_setup(std::move(reader))
                                              : read_training_setup(std::move(reader));
  return run_in_world(setup.recipe.parallel.timeout_s, [&](World& world) {
    use_threads(setup.recipe, world);
    Json figures = row.measure(world, setup, args.repeats);
    figures["ranks"] = world.size();
    figures["cores_per_rank"] = world.cores();
    return finish(std::move(figures), world.rank());
  });
}

}  // namespace kiln
