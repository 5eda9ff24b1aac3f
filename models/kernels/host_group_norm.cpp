#include "models/kernels/host_group_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kiln {
namespace {

/// What a strip of channels needs per channel; grows to the widest strip a thread has seen.
struct Strip {
  std::vector<float> memory;
  float *shift = nullptr, *mean = nullptr, *rstd = nullptr, *gamma = nullptr, *beta = nullptr;
  float *sum = nullptr, *other = nullptr;
  explicit Strip(std::int64_t width) : memory(static_cast<std::size_t>(7 * width)) {
    float* next = memory.data();
    for (float** field : {&shift, &mean, &rstd, &gamma, &beta, &sum, &other}) {
      *field = next;
      next += width;
    }
  }
};

// The loops: restrict parameters and no branches, so that they are vectorised.

template <typename T>
void load_row(const T* __restrict from, float* __restrict to, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) to[i] = load(from[i]);
}

template <typename T>
void add_pixel(const T* __restrict x, float* __restrict sum, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) sum[i] += load(x[i]);
}

template <typename T>
void add_square(const T* __restrict x, const float* __restrict centre, float* __restrict sum,
                std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) {
    const float d = load(x[i]) - centre[i];
    sum[i] += d * d;
  }
}

template <typename T, bool kHasSilu>
void apply_pixel(const T* __restrict x, const float* __restrict scale,
                 const float* __restrict offset, T* __restrict y, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) {
    const float z = multiply_add(load(x[i]), scale[i], offset[i]);
    store(y[i], kHasSilu ? silu(z).value : z);
  }
}

// dz, kept in dx until the group's sums are known; adds dz to `beta` and dz * hat to `gamma`.
template <typename T, bool kHasSilu>
void slope_pixel(const T* __restrict x, const T* __restrict dy, const float* __restrict centre,
                 const float* __restrict rstd, const float* __restrict gamma,
                 const float* __restrict beta, float* __restrict sum, float* __restrict other,
                 T* __restrict dx, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) {
    const float hat = (load(x[i]) - centre[i]) * rstd[i];
    float d = load(dy[i]);
    if (kHasSilu) d *= silu(multiply_add(hat, gamma[i], beta[i])).slope;
    store(dx[i], d);
    sum[i] += d;
    other[i] += d * hat;
  }
}

// dx = rstd * (gamma dz - c1 - hat c2), with c1 and c2 per channel.
template <typename T>
void finish_pixel(const T* __restrict x, const float* __restrict centre,
                  const float* __restrict rstd, const float* __restrict gamma,
                  const float* __restrict c1, const float* __restrict c2, T* __restrict dx,
                  std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) {
    const float hat = (load(x[i]) - centre[i]) * rstd[i];
    store(dx[i], rstd[i] * (gamma[i] * load(dx[i]) - c1[i] - hat * c2[i]));
  }
}

/// The groups of one call as a strip of channels.
struct Part {
  std::int64_t first, width, per_group;
};
template <typename T>
Part part_of(const GroupNormMaps<T>& maps, std::int64_t begin, std::int64_t end) {
  const std::int64_t per_group = maps.channels / maps.groups;
  return {begin * per_group, (end - begin) * per_group, per_group};
}

/// Sets each group's channels to function(sum over them) of `values`.
template <typename Function>
void by_group(const Part& part, const float* values, float* result, const Function& function) {
  for (std::int64_t g = 0; g < part.width; g += part.per_group) {
    float total = 0.0f;
    for (std::int64_t i = g; i < g + part.per_group; ++i) total += values[i];
    std::fill_n(result + g, part.per_group, function(total));
  }
}

template <typename T>
void load_affine(const GroupNormMaps<T>& maps, const Part& part, std::int64_t b, Strip& strip) {
  load_row(maps.gamma + part.first, strip.gamma, part.width);
  load_row(maps.beta + part.first, strip.beta, part.width);
  if (maps.shift) load_row(maps.shift + b * maps.channels + part.first, strip.shift, part.width);
}

}  // namespace

template <typename T>
void group_norm_forward(const GroupNormMaps<T>& maps, std::int64_t b, std::int64_t group_begin,
                        std::int64_t group_end) {
  const Part part = part_of(maps, group_begin, group_end);
  const std::int64_t P = maps.pixels, C = maps.channels, width = part.width;
  const auto count = static_cast<float>(P * part.per_group);
  const T* x = maps.x + b * P * C + part.first;
  T* y = maps.y + b * P * C + part.first;
  Strip strip(width);
  load_affine(maps, part, b, strip);
  for (std::int64_t p = 0; p < P; ++p) add_pixel(x + p * C, strip.sum, width);
  for (std::int64_t i = 0; i < width; ++i) strip.sum[i] += static_cast<float>(P) * strip.shift[i];
  by_group(part, strip.sum, strip.mean, [&](float total) { return total / count; });
  // From here on the shift is part of the centre: x + shift - mean = x - (mean - shift).
  const auto centre = [&](std::int64_t i) { return strip.mean[i] - strip.shift[i]; };
  std::vector<float> centres(static_cast<std::size_t>(width));
  for (std::int64_t i = 0; i < width; ++i) centres[static_cast<std::size_t>(i)] = centre(i);
  for (std::int64_t p = 0; p < P; ++p) add_square(x + p * C, centres.data(), strip.other, width);
  by_group(part, strip.other, strip.rstd,
           [&](float total) { return 1.0f / std::sqrt(total / count + maps.eps); });
  for (std::int64_t g = group_begin; g < group_end; ++g) {
    const std::int64_t i = (g - group_begin) * part.per_group;
    maps.mean[b * maps.groups + g] = strip.mean[i];
    maps.rstd[b * maps.groups + g] = strip.rstd[i];
  }
  float* scale = strip.sum;
  float* offset = strip.other;
  for (std::int64_t i = 0; i < width; ++i) {
    scale[i] = strip.rstd[i] * strip.gamma[i];
    offset[i] = strip.beta[i] - centre(i) * scale[i];
  }
  for (std::int64_t p = 0; p < P; ++p) {
    maps.has_silu ? apply_pixel<T, true>(x + p * C, scale, offset, y + p * C, width)
                  : apply_pixel<T, false>(x + p * C, scale, offset, y + p * C, width);
  }
}

template <typename T>
void group_norm_backward(const GroupNormMaps<T>& maps, const T* dy, T* dx, float* dgamma,
                         float* dbeta, float* dshift, std::int64_t b, std::int64_t group_begin,
                         std::int64_t group_end) {
  const Part part = part_of(maps, group_begin, group_end);
  const std::int64_t P = maps.pixels, C = maps.channels, width = part.width;
  const auto count = static_cast<float>(P * part.per_group);
  const std::int64_t at = b * P * C + part.first;
  const T *x = maps.x + at, *given = dy + at;
  T* out = dx + at;
  Strip strip(width);
  load_affine(maps, part, b, strip);
  for (std::int64_t i = 0; i < width; ++i) {
    const std::int64_t g = b * maps.groups + group_begin + i / part.per_group;
    strip.mean[i] = maps.mean[g] - strip.shift[i];
    strip.rstd[i] = maps.rstd[g];
  }
  const auto slope = maps.has_silu ? slope_pixel<T, true> : slope_pixel<T, false>;
  for (std::int64_t p = 0; p < P; ++p) {
    slope(x + p * C, given + p * C, strip.mean, strip.rstd, strip.gamma, strip.beta, strip.sum,
          strip.other, out + p * C, width);
  }
  std::copy_n(strip.sum, width, dbeta + b * C + part.first);
  std::copy_n(strip.other, width, dgamma + b * C + part.first);
  std::vector<float> memory(static_cast<std::size_t>(4 * width));
  float *c1 = memory.data(), *c2 = c1 + width, *weighted = c2 + width, *shifted = weighted + width;
  const auto mean = [&](float total) { return total / count; };
  for (std::int64_t i = 0; i < width; ++i) weighted[i] = strip.sum[i] * strip.gamma[i];
  by_group(part, weighted, c1, mean);
  for (std::int64_t i = 0; i < width; ++i) weighted[i] = strip.other[i] * strip.gamma[i];
  by_group(part, weighted, c2, mean);
  for (std::int64_t p = 0; p < P; ++p) {
    finish_pixel(x + p * C, strip.mean, strip.rstd, strip.gamma, c1, c2, out + p * C, width);
    if (dshift) add_pixel(out + p * C, shifted, width);
  }
  if (dshift) std::copy_n(shifted, width, dshift + b * C + part.first);
}

#define KILN_INSTANTIATE(T)                                                                        \
  template void group_norm_forward(const GroupNormMaps<T>&, std::int64_t, std::int64_t,            \
                                   std::int64_t);                                                  \
  template void group_norm_backward(const GroupNormMaps<T>&, const T*, T*, float*, float*, float*, \
                                    std::int64_t, std::int64_t, std::int64_t)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);

}  // namespace kiln
