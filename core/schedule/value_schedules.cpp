#include "core/schedule/value_schedules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "core/base/nearest_name.h"

namespace kiln {
namespace {

double in_samples(const std::optional<double>& samples, const std::optional<double>& steps,
                  const std::optional<double>& epochs, const ValueSchedules::Run& run,
                  double otherwise) {
  if (samples) return *samples;
  if (steps) return *steps * static_cast<double>(run.global_batch);
  if (epochs) return *epochs * static_cast<double>(run.samples_per_epoch);
  return otherwise;
}

}  // namespace

std::vector<std::string> problems_of(const std::string& name, const ValueScheduleOptions& options) {
  std::vector<std::string> found;
  const std::vector<std::string> shapes = {"constant", "linear", "cosine"};
  if (std::ranges::find(shapes, options.name) == shapes.end()) {
    found.push_back(unknown_name(fmt::format("schedule.{}.name", name), options.name, shapes));
  } else if (options.name != "constant" && !options.end) {
    found.push_back(
        fmt::format("schedule.{}.name = \"{}\" needs schedule.{}.end", name, options.name, name));
  }
  const auto one_of = [&](const char* group, int given) {
    if (given <= 1) return;
    found.push_back(
        fmt::format("give one of schedule.{0}.{1}_samples, {1}_steps, {1}_epochs", name, group));
  };
  one_of("warmup", options.warmup_samples.has_value() + options.warmup_steps.has_value() +
                       options.warmup_epochs.has_value());
  one_of("duration", options.duration_samples.has_value() + options.duration_steps.has_value() +
                         options.duration_epochs.has_value());
  return found;
}

ValueSchedules::ValueSchedules(const std::vector<NamedSchedule>& declared,
                               const std::map<std::string, ValueScheduleOptions>& recipe,
                               const Run& run)
    : samples_per_epoch_(run.samples_per_epoch) {
  std::map<std::string, ValueScheduleOptions> all = recipe;
  for (const NamedSchedule& schedule : declared) all.try_emplace(schedule.name, schedule.options);
  for (const auto& [name, options] : all) {
    const std::vector<std::string> problems = problems_of(name, options);
    if (!problems.empty()) throw usage_error("{}", problems.front());
    Curve curve{.options = options};
    curve.warmup =
        in_samples(options.warmup_samples, options.warmup_steps, options.warmup_epochs, run, 0.0);
    curve.duration =
        in_samples(options.duration_samples, options.duration_steps, options.duration_epochs, run,
                   static_cast<double>(run.total_samples));
    if (options.name != "constant" && curve.warmup > curve.duration) {
      throw usage_error(
          "schedule.{}: the warm-up of {:.0f} samples is longer than the duration of {:.0f}", name,
          curve.warmup, curve.duration);
    }
    curves_[name] = curve;
  }
}

std::map<std::string, double> ValueSchedules::at(std::int64_t samples_seen) const {
  std::map<std::string, double> values;
  for (const auto& [name, curve] : curves_) {
    const bool has_stairs = curve.options.per_epoch && samples_per_epoch_ > 0;
    const std::int64_t samples =
        has_stairs ? samples_seen / samples_per_epoch_ * samples_per_epoch_ : samples_seen;
    values[name] = curve.at(static_cast<double>(samples));
  }
  return values;
}

double ValueSchedules::Curve::at(double s) const {
  const double start = options.start;
  if (s < warmup) return options.warmup_from + (start - options.warmup_from) * s / warmup;
  if (options.name == "constant") return start;
  const double end = options.end.value();
  const double progress = duration > warmup ? std::min(1.0, (s - warmup) / (duration - warmup)) : 1;
  if (options.name == "linear") return start + (end - start) * progress;
  return end + (start - end) / 2.0 * (1.0 + std::cos(std::numbers::pi * progress));
}

}  // namespace kiln
