#pragma once

#include <cstdint>

#include "core/recipe/recipe.h"

namespace kiln {

/// How fast the moving average of the weights forgets:  ema += (1 - decay) (weights - ema), once
/// per update, starting from a copy of the initial weights.
///
///   decay              constant (DDPM, DiT: 0.9999)
///   warmup             at most (1 + n) / (10 + n) at update n = 1, 2, ...   (LitEma)
///   half_life_samples  0.5^(global_batch / H)                               (EDM)
///   ramp               H is at most ramp * samples seen before the step
class EmaSchedule {
 public:
  /// Throws Error(kUsage) when decay and half_life_samples are both given, or out of range.
  EmaSchedule(const EmaOptions& options, std::int64_t global_batch);

  bool is_on() const { return options_.decay > 0.0 || options_.half_life_samples > 0.0; }
  double decay(std::int64_t update, std::int64_t samples_seen) const;

 private:
  EmaOptions options_;
  std::int64_t global_batch_;
};

}  // namespace kiln
