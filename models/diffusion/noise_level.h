#pragma once

namespace kiln {

/// How much of a sample is data and how much is noise:  x = s (x0 + sigma n) = signal x0 + noise n,
/// with n ~ N(0, I), signal = s(t) and noise = s(t) sigma(t). The pair stays finite where sigma does
/// not: flow matching's pure noise is {0, 1}.
struct NoiseLevel {
  double signal = 1.0;
  double noise = 0.0;

  double sigma() const { return noise / signal; }
  double snr() const { return signal * signal / (noise * noise); }
};

/// What a network is asked for:  F = data x0 + noise n. Together with the level this is all that
/// tells epsilon, x0, v, flow velocity, score and EDM's preconditioned output apart.
struct Target {
  double data = 0.0;
  double noise = 1.0;
};

/// The way back from (x, F) to (x0, n): the inverse of the 2 x 2 system
///   x = level.signal x0 + level.noise n,    F = target.data x0 + target.noise n.
/// x0 = x0_from_x x + x0_from_f F,   n = n_from_x x + n_from_f F.
struct Inversion {
  double x0_from_x, x0_from_f, n_from_x, n_from_f;
};

inline double determinant(const NoiseLevel& level, const Target& target) {
  return level.signal * target.noise - level.noise * target.data;
}

inline Inversion invert(const NoiseLevel& level, const Target& target) {
  const double d = determinant(level, target);
  return {target.noise / d, -level.noise / d, -target.data / d, level.signal / d};
}

inline Target epsilon_target() { return {0.0, 1.0}; }
inline Target x0_target() { return {1.0, 0.0}; }
/// v = signal n - noise x0 (Salimans and Ho, arXiv 2202.00512).
inline Target v_target(const NoiseLevel& level) { return {-level.noise, level.signal}; }
/// dx/dt of the straight path with data at t = 0: n - x0.
inline Target velocity_target() { return {-1.0, 1.0}; }
/// noise * score = -n: the score of x given x0, scaled to unit size.
inline Target score_target() { return {0.0, -1.0}; }

}  // namespace kiln
