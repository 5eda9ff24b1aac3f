#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/report/step_report.h"
#include "launch/report/spread.h"
#include "launch/run/result.h"
#include "launch/run/training_setup.h"
#include "launch/run/world.h"

namespace kiln {

/// How `kiln bench` was called.
struct BenchArgs {
  std::string what;                    // of bench_table()
  std::string recipe;                  // TOML
  std::vector<std::string> overrides;  // section.key=value
  std::int64_t repeats = 20;
  std::int64_t ranks = 2;  // ranks of the run that `recovery` starts
};

/// Measures a figure and, in the same minutes, the ceiling that it is compared with. Result:
/// figures as {min, median, max}, and the settings of the measurement.
CommandResult bench(const BenchArgs& args);

using Json = nlohmann::ordered_json;

/// A row of the table of benchmarks. One of the two functions is there: `measure`, collective, is given
/// the recipe as objects; `alone` starts programs of its own.
struct Bench {
  std::string name;
  std::string summary;  // of `kiln bench --help`
  Json (*measure)(World& world, TrainingSetup& setup, std::int64_t repeats) = nullptr;
  Json (*alone)(const BenchArgs& args) = nullptr;
};
const std::vector<Bench>& bench_table();

// One file each, collective: the figures of one kind.
Json bench_step(World& world, TrainingSetup& setup, std::int64_t repeats);
Json bench_profile(World& world, TrainingSetup& setup, std::int64_t repeats);
Json bench_comm(World& world, TrainingSetup& setup, std::int64_t repeats);
Json bench_kernels(World& world, TrainingSetup& setup, std::int64_t repeats);
Json bench_loader(World& world, TrainingSetup& setup, std::int64_t repeats);
Json bench_checkpoint(World& world, TrainingSetup& setup, std::int64_t repeats);
// Alone.
Json bench_startup(const BenchArgs& args);
Json bench_recovery(const BenchArgs& args);

/// Collective: trains the recipe's model: some steps that are not counted, `warmed_up`, then
/// `repeats` steps, after each of which `report` is called.
void run_steps(World& world, TrainingSetup& setup, std::int64_t repeats,
               const std::function<void()>& warmed_up,
               const std::function<void(const StepReport&)>& report);
/// Seconds of each of `repeats` calls, after one that is not counted.
std::vector<double> seconds_of(std::int64_t repeats, const std::function<void()>& call);
/// Every value divided into `amount`: amount per second.
std::vector<double> rates(double amount, const std::vector<double>& seconds);
/// Bytes per second that one thread copies from memory to memory, `num_bytes` at a time.
Spread copy_rate(std::int64_t num_bytes, std::int64_t repeats);

}  // namespace kiln
