#include "core/schedule/ema.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace kiln {

EmaSchedule::EmaSchedule(const EmaOptions& options, std::int64_t global_batch)
    : options_(options), global_batch_(global_batch) {
  if (options.decay > 0.0 && options.half_life_samples > 0.0) {
    throw usage_error("ema.decay = {} and ema.half_life_samples = {} are both given; give one",
                      options.decay, options.half_life_samples);
  }
  if (options.decay < 0.0 || options.decay >= 1.0) {
    throw usage_error("ema.decay = {} lies outside [0, 1)", options.decay);
  }
  if (options.ramp > 0.0 && options.half_life_samples <= 0.0) {
    throw usage_error("ema.ramp = {} limits ema.half_life_samples, which is not given",
                      options.ramp);
  }
}

double EmaSchedule::decay(std::int64_t update, std::int64_t samples_seen) const {
  double decay = options_.decay;
  if (options_.half_life_samples > 0.0) {
    double half_life = options_.half_life_samples;
    if (options_.ramp > 0.0) {
      half_life = std::min(half_life, options_.ramp * static_cast<double>(samples_seen));
    }
    decay = half_life > 0.0 ? std::exp2(-static_cast<double>(global_batch_) / half_life) : 0.0;
  }
  if (!options_.warmup) return decay;
  const auto n = static_cast<double>(update);
  return std::min(decay, (1.0 + n) / (10.0 + n));
}

}  // namespace kiln
