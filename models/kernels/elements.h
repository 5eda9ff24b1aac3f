#pragma once

#include <cstdint>
#include <cstring>

#include "core/base/philox.h"

// Functions of single elements, the same on host and device: the kernels' loops and the GPU's
// threads are written with them, so that testing the loops tests these. Branch-free where a loop
// over them is to be vectorised. Contraction is off: what is to be fused says fma.

namespace kiln {

using Bf16 = std::uint16_t;  // bits of a bfloat16: the upper half of a float

KILN_HOST_DEVICE inline float from_bits(std::uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}
KILN_HOST_DEVICE inline std::uint32_t to_bits(float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

KILN_HOST_DEVICE inline float load(float value) { return value; }
KILN_HOST_DEVICE inline float load(Bf16 bits) { return from_bits(std::uint32_t{bits} << 16); }
KILN_HOST_DEVICE inline void store(float& to, float value) { to = value; }
/// Nearest, ties to even. Not for NaN: the bits of some would overflow; the loss tells of those.
KILN_HOST_DEVICE inline void store(Bf16& to, float value) {
#if defined(__CUDA_ARCH__)
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to) : "f"(value));
#else
  const std::uint32_t bits = to_bits(value);
  to = static_cast<Bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

/// a b + c, rounded once. On the host by the instruction: x86-64-v3 has it.
KILN_HOST_DEVICE inline float multiply_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

/// 1 / x; on a GPU within 2 units in the last place.
KILN_HOST_DEVICE inline float reciprocal(float x) {
#if defined(__CUDA_ARCH__)
  return __fdividef(1.0f, x);
#else
  return 1.0f / x;
#endif
}

/// e^x within 2e-7 of its value; 0 below -87, the largest power below infinity above 88. On a GPU
/// by the instruction, within 2e-7 + 1e-7 |x|, and without those bounds: the polynomial would take
/// longer than the memory it is to keep up with.
KILN_HOST_DEVICE inline float exponential(float x) {
#if defined(__CUDA_ARCH__)
  return __expf(x);
#else
  constexpr float kShifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  const float shifted = multiply_add(clamped, 1.44269504f, kShifter);
  const float n = shifted - kShifter;
  // ln 2 in two parts, the first with trailing zeros: n times it is exact.
  float r = multiply_add(n, -0.693359375f, clamped);
  r = multiply_add(n, 2.12194440e-4f, r);
  float p = 1.98412698e-4f;  // 1 / 7!
  p = multiply_add(p, r, 1.38888889e-3f);
  p = multiply_add(p, r, 8.33333333e-3f);
  p = multiply_add(p, r, 4.16666667e-2f);
  p = multiply_add(p, r, 1.66666667e-1f);
  p = multiply_add(p, r, 0.5f);
  p = multiply_add(p, r, 1.0f);
  p = multiply_add(p, r, 1.0f);
  const std::uint32_t power = (to_bits(shifted) - to_bits(kShifter) + 127u) << 23;
  const float result = p * from_bits(power);
  return x < -87.0f ? 0.0f : result;
#endif
}

/// An activation's value and slope at u.
struct Activated {
  float value, slope;
};

/// u Phi(u), Phi the normal distribution function (Hendrycks and Gimpel, arXiv:1606.08415). The
/// tail of Phi is exp(-u^2 / 2) times a polynomial in 1 / (1 + 0.23 |u|), fitted on [0, 13] to a
/// relative error of 1.4e-7.
KILN_HOST_DEVICE inline Activated gelu_erf(float u) {
  const float e = exponential(-0.5f * u * u);
  const float t = reciprocal(multiply_add(0.23f, u < 0.0f ? -u : u, 1.0f));
  float p = -0.0738853265f;
  p = multiply_add(p, t, 0.268862514f);
  p = multiply_add(p, t, -0.235009633f);
  p = multiply_add(p, t, 0.253622856f);
  p = multiply_add(p, t, -0.000747853328f);
  p = multiply_add(p, t, 0.106108597f);
  p = multiply_add(p, t, 0.0891410924f);
  p = multiply_add(p, t, 0.0919078208f);
  const float tail = p * t * e;
  const float phi = u < 0.0f ? tail : 1.0f - tail;
  return {u * phi, multiply_add(u * e, 0.398942280f, phi)};
}

/// The tanh form, u / (1 + exp(-2 z)) with z = sqrt(2 / pi) (u + 0.044715 u^3).
KILN_HOST_DEVICE inline Activated gelu_tanh(float u) {
  constexpr float kTwoRoot = 1.59576912f;  // 2 sqrt(2 / pi)
  const float square = u * u;
  const float z2 = kTwoRoot * u * multiply_add(0.044715f, square, 1.0f);
  const float s = reciprocal(1.0f + exponential(-z2));
  const float z2_slope = kTwoRoot * multiply_add(3.0f * 0.044715f, square, 1.0f);
  return {u * s, multiply_add(u * s * (1.0f - s), z2_slope, s)};
}

/// u / (1 + exp(-u)).
KILN_HOST_DEVICE inline Activated silu(float u) {
  const float s = reciprocal(1.0f + exponential(-u));
  return {u * s, multiply_add(u * s, 1.0f - s, s)};
}

}  // namespace kiln
