#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/objective.h"
#include "core/recipe/phase_options.h"

namespace kiln {

/// The schedule that the engine itself applies.
inline constexpr const char* kWeightDecay = "weight_decay";

/// What is wrong with the options of schedule `name`, in the words of the recipe.
std::vector<std::string> problems_of(const std::string& name, const ValueScheduleOptions& options);

/// All values that change in the course of a run (ValueScheduleOptions has the equations).
class ValueSchedules {
 public:
  struct Run {
    std::int64_t total_samples = 0;
    std::int64_t samples_per_epoch = 0;
    std::int64_t global_batch = 0;
  };
  /// What the objective declares, and in its place what the recipe has under the same name. Throws
  /// Error(kUsage) when a warm-up or a duration is given twice, or the warm-up is longer than the
  /// duration.
  ValueSchedules(const std::vector<NamedSchedule>& declared,
                 const std::map<std::string, ValueScheduleOptions>& recipe, const Run& run);

  std::map<std::string, double> at(std::int64_t samples_seen) const;

 private:
  struct Curve {
    ValueScheduleOptions options;
    double warmup = 0.0;    // samples
    double duration = 0.0;  // samples
    double at(double samples) const;
  };
  std::map<std::string, Curve> curves_;
  std::int64_t samples_per_epoch_;
};

}  // namespace kiln
