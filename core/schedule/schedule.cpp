#include "core/schedule/schedule.h"

#include <cmath>
#include <numbers>

#include "core/base/error.h"

namespace kiln {

Schedule::Schedule(const ScheduleOptions& options, double peak, std::int64_t total_samples,
                   std::int64_t samples_per_epoch, std::int64_t global_batch)
    : peak_(peak),
      min_(options.min_lr),
      warmup_start_(options.warmup_start),
      warmup_(options.warmup_samples),
      total_(static_cast<double>(total_samples)) {
  if (options.name == "constant") {
    shape_ = Shape::kConstant;
  } else if (options.name == "linear") {
    shape_ = Shape::kLinear;
  } else if (options.name == "linear_after_warmup") {
    shape_ = Shape::kLinearAfterWarmup;
  } else if (options.name == "cosine") {
    shape_ = Shape::kCosine;
  } else {
    throw usage_error("schedule.name '{}' is unknown", options.name);
  }
  const int given = (options.warmup_samples > 0) + options.warmup_steps.has_value() +
                    options.warmup_epochs.has_value();
  if (given > 1) {
    throw usage_error(
        "give one of schedule.warmup_samples, schedule.warmup_steps, schedule.warmup_epochs; found "
        "{}",
        given);
  }
  if (options.warmup_steps) warmup_ = *options.warmup_steps * static_cast<double>(global_batch);
  if (options.warmup_epochs)
    warmup_ = *options.warmup_epochs * static_cast<double>(samples_per_epoch);
  if (warmup_ > total_) {
    throw usage_error(
        "the warm-up of {:.0f} samples is longer than the run of {:.0f}: shorten it "
        "(schedule.warmup_steps or warmup_epochs), or end a longer run early with train.stop_after",
        warmup_, total_);
  }
}

Schedule Schedule::with_peak(double peak) const {
  Schedule other = *this;
  other.peak_ = peak;
  return other;
}

double Schedule::at(std::int64_t samples_seen) const {
  const double s = static_cast<double>(samples_seen);
  if (s < warmup_) return peak_ * (warmup_start_ + (1.0 - warmup_start_) * s / warmup_);
  switch (shape_) {
    case Shape::kConstant:
      return peak_;
    case Shape::kLinear:
      return peak_ * std::max(0.0, 1.0 - s / total_);
    case Shape::kLinearAfterWarmup:
      return peak_ * std::max(0.0, total_ - s) / std::max(1.0, total_ - warmup_);
    case Shape::kCosine: {
      const double progress = std::min(1.0, (s - warmup_) / std::max(1.0, total_ - warmup_));
      return min_ + (peak_ - min_) / 2.0 * (1.0 + std::cos(std::numbers::pi * progress));
    }
  }
  return peak_;
}

}  // namespace kiln
