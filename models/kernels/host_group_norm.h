#pragma once

#include <cstdint>

#include "models/kernels/elements.h"

namespace kiln {

/// y = act((x + shift - mean) * rstd * gamma + beta) over channels-last maps [B, P, C]: mean and
/// variance over the P pixels of C / groups channels, act SiLU or nothing. T = float or Bf16,
/// arithmetic in fp32.
template <typename T>
struct GroupNormMaps {
  std::int64_t pixels = 0, channels = 0, groups = 1;
  const T* x = nullptr;
  const T* shift = nullptr;  // [B, C], e.g. a time embedding; null: none
  const T* gamma = nullptr;  // [C]
  const T* beta = nullptr;
  float eps = 0.0f;
  bool has_silu = false;
  T* y = nullptr;
  float* mean = nullptr;  // [B, groups]
  float* rstd = nullptr;
};
/// Groups [group_begin, group_end) of sample b. Calls for different groups are independent.
template <typename T>
void group_norm_forward(const GroupNormMaps<T>& maps, std::int64_t b, std::int64_t group_begin,
                        std::int64_t group_end);
/// Writes dx, and this sample's rows [C] of dgamma, dbeta and, where there is a shift, dshift.
template <typename T>
void group_norm_backward(const GroupNormMaps<T>& maps, const T* dy, T* dx, float* dgamma,
                         float* dbeta, float* dshift, std::int64_t b, std::int64_t group_begin,
                         std::int64_t group_end);

}  // namespace kiln
