#pragma once

#include <cstdint>

#include "core/recipe/recipe.h"

namespace kiln {

/// Learning rate as a function of samples seen: equal on all ranks, and nothing to save.
///
/// With peak p, length N, warm-up w (all in samples) and s samples seen before the step:
///   s < w:                p * (a + (1 - a) * s / w)     a = schedule.warmup_start
///   constant:             p
///   linear:               p * (1 - s / N)               Google's BERT: the rate jumps at w
///   linear_after_warmup:  p * (N - s) / (N - w)
///   cosine:               m + (p - m) / 2 * (1 + cos(pi * (s - w) / (N - w)))
///                         m = schedule.min_lr
class Schedule {
 public:
  /// `samples_per_epoch` gives schedule.warmup_epochs its meaning. Throws Error(kUsage) when the
  /// warm-up is given twice or is longer than the run.
  Schedule(const ScheduleOptions& options, double peak, std::int64_t total_samples,
           std::int64_t samples_per_epoch, std::int64_t global_batch);

  double at(std::int64_t samples_seen) const;
  double peak() const { return peak_; }
  /// The same with another peak: that of a phase with a rate of its own.
  Schedule with_peak(double peak) const;

 private:
  enum class Shape { kConstant, kLinear, kLinearAfterWarmup, kCosine };
  Shape shape_;
  double peak_;
  double min_;
  double warmup_start_;
  double warmup_;
  double total_;
};

}  // namespace kiln
