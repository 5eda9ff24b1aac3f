#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "core/base/philox.h"

// What each optimizer does to one element. The only place where the equations are written: host
// loops (Real = float) and tensor operations for other devices (Real = at::Tensor) come from these
// functors.
//
// p parameter (fp32 master), g gradient after clipping, m and v moments, lr learning rate, wd
// weight decay (0 for entries without decay), r trust ratio (1 for entries without), t number of
// the update, from 1. A rule has
//   kNumMoments        moments it keeps per element
//   direction(...)     updates the moments; what the trust ratio's second norm is over
//   apply(...)         the new parameter, given the moments after direction()
// Rules without trust ratio run both in one pass; with it, the norms over a whole tensor lie
// between them, and `direction_again` recomputes the direction from p, g and the moments, to the
// same bits.

namespace kiln {

/// Everything a rule needs besides the element, equal for all elements of one segment.
struct RuleScalars {
  float lr = 0.0f;
  float decay = 0.0f;        // wd
  float trust_ratio = 1.0f;  // r
  float beta1 = 0.0f;        // or momentum
  float beta2 = 0.0f;
  float one_minus_beta1 = 0.0f;  // rounded once, from double
  float one_minus_beta2 = 0.0f;
  float eps = 0.0f;
  float shrink = 1.0f;                                   // 1 - lr * wd
  float unbias1 = 1.0f;                                  // 1 / (1 - beta1^t)
  float unbias_root2 = 1.0f;                             // 1 / sqrt(1 - beta2^t)
  float step_size = 0.0f;                                // lr / (1 - beta1^t)
  float gradient_scale = 1.0f;                           // clipping
  float bound = std::numeric_limits<float>::infinity();  // of |p| after the update
  std::int32_t is_frozen = 0;                            // nothing of the segment changes
};

/// Elementwise, of floats or tensors.
template <typename Real>
KILN_HOST_DEVICE Real larger(const Real& a, const Real& b) {
  if constexpr (std::is_same_v<Real, float>) {
    return a < b ? b : a;
  } else {
    return maximum(a, b);
  }
}

template <typename Real>
KILN_HOST_DEVICE void update_moments(const RuleScalars& s, const Real& g, Real& m, Real& v) {
  m = m + s.one_minus_beta1 * (g - m);
  v = s.beta2 * v + s.one_minus_beta2 * g * g;
}

/// Loshchilov & Hutter, "Decoupled weight decay regularization", algorithm 2 (arXiv:1711.05101),
/// with the decay multiplied by the learning rate, as PyTorch does:
///   p <- p (1 - lr wd);  p <- p - lr m^ / (sqrt(v^) + eps)
struct AdamWRule {
  static constexpr int kNumMoments = 2;
  template <typename Real>
  KILN_HOST_DEVICE static Real direction(const RuleScalars& s, const Real&, const Real& g, Real& m,
                                         Real& v) {
    update_moments(s, g, m, v);
    using std::sqrt;
    return m / (sqrt(v) * s.unbias_root2 + s.eps);
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real apply(const RuleScalars& s, const Real& p, const Real& u, Real&) {
    return p * s.shrink - s.step_size * u;
  }
};

/// Kingma & Ba, "Adam", algorithm 1 (arXiv:1412.6980), with L2 decay:
///   g <- g + wd p;  p <- p - lr m^ / (sqrt(v^) + eps)
struct AdamRule {
  static constexpr int kNumMoments = 2;
  template <typename Real>
  KILN_HOST_DEVICE static Real direction(const RuleScalars& s, const Real& p, const Real& g,
                                         Real& m, Real& v) {
    update_moments<Real>(s, g + s.decay * p, m, v);
    using std::sqrt;
    return m / (sqrt(v) * s.unbias_root2 + s.eps);
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real apply(const RuleScalars& s, const Real& p, const Real& u, Real&) {
    return p - s.step_size * u;
  }
};

/// Kingma & Ba, "Adam", algorithm 2 (arXiv:1412.6980), with L2 decay; eps as PyTorch has it:
///   g <- g + wd p;  v <- max(beta2 v, |g| + eps);  p <- p - lr / (1 - beta1^t) m / v
struct AdamaxRule {
  static constexpr int kNumMoments = 2;
  template <typename Real>
  KILN_HOST_DEVICE static Real direction(const RuleScalars& s, const Real& p, const Real& g,
                                         Real& m, Real& v) {
    using std::abs;
    const Real decayed = g + s.decay * p;
    m = m + s.one_minus_beta1 * (decayed - m);
    v = larger<Real>(s.beta2 * v, abs(decayed) + s.eps);
    return m / v;
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real apply(const RuleScalars& s, const Real& p, const Real& u, Real&) {
    return p - s.step_size * u;
  }
};

/// Tieleman & Hinton, lecture 6.5 (2012), as PyTorch has it, with L2 decay; m is the mean square:
///   g <- g + wd p;  m <- beta2 m + (1 - beta2) g^2;  p <- p - lr g / (sqrt(m) + eps)
struct RmspropRule {
  static constexpr int kNumMoments = 1;
  template <typename Real>
  KILN_HOST_DEVICE static Real direction(const RuleScalars& s, const Real& p, const Real& g,
                                         Real& m, Real&) {
    using std::sqrt;
    const Real decayed = g + s.decay * p;
    m = s.beta2 * m + s.one_minus_beta2 * decayed * decayed;
    return decayed / (sqrt(m) + s.eps);
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real apply(const RuleScalars& s, const Real& p, const Real& u, Real&) {
    return p - s.lr * u;
  }
};

/// Google's BERT: no bias correction.  p <- p - lr (m / (sqrt(v) + eps) + wd p)
struct UncorrectedAdamRule {
  static constexpr int kNumMoments = 2;
  template <typename Real>
  KILN_HOST_DEVICE static Real direction(const RuleScalars& s, const Real& p, const Real& g,
                                         Real& m, Real& v) {
    update_moments(s, g, m, v);
    using std::sqrt;
    return m / (sqrt(v) + s.eps) + s.decay * p;
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real apply(const RuleScalars& s, const Real& p, const Real& u, Real&) {
    return p - s.lr * u;
  }
};

/// You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", algorithm
/// 2 (arXiv:1904.00962), phi the identity:
///   u = m^ / (sqrt(v^) + eps) + wd p;  r = |p| / |u|;  p <- p - lr r u
struct LambRule {
  static constexpr int kNumMoments = 2;
  template <typename Real>
  KILN_HOST_DEVICE static Real direction(const RuleScalars& s, const Real& p, const Real& g,
                                         Real& m, Real& v) {
    update_moments(s, g, m, v);
    return direction_again(s, p, g, m, v);
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real direction_again(const RuleScalars& s, const Real& p, const Real&,
                                               const Real& m, const Real& v) {
    using std::sqrt;
    return m * s.unbias1 / (sqrt(v) * s.unbias_root2 + s.eps) + s.decay * p;
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real apply(const RuleScalars& s, const Real& p, const Real& u, Real&) {
    return p - s.lr * s.trust_ratio * u;
  }
};

/// You et al., "Large batch training of convolutional networks" (arXiv:1708.03888):
///   d = g + wd p;  r = eta |p| / |d|;  m <- beta m + r d;  p <- p - lr m
/// Entries without decay have wd 0 and r 1. With r 1 everywhere this is SGD with momentum.
/// With the rate in the momentum (optimizer.rate_in_momentum, as SimCLR has it, arXiv:2002.05709),
/// r holds it as well, and lr is 1:  m <- beta m + lr r d;  p <- p - m
struct LarsRule {
  static constexpr int kNumMoments = 1;
  template <typename Real>
  KILN_HOST_DEVICE static Real direction(const RuleScalars& s, const Real& p, const Real& g, Real&,
                                         Real&) {
    return g + s.decay * p;
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real direction_again(const RuleScalars& s, const Real& p, const Real& g,
                                               const Real&, const Real&) {
    return g + s.decay * p;
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real apply(const RuleScalars& s, const Real& p, const Real& u, Real& m) {
    m = s.beta1 * m + s.trust_ratio * u;
    return p - s.lr * m;
  }
};

/// LARC, the form of LARS that SwAV trains with (arXiv:2006.09882), without clipping the ratio:
///   r = eta |p| / (|g| + wd |p| + eps);  m <- beta m + r (g + wd p);  p <- p - lr m
/// for every entry, whether it decays or not; where either norm is 0, r = 1 and wd = 0.
struct LarcRule {
  static constexpr int kNumMoments = 1;
  template <typename Real>
  KILN_HOST_DEVICE static Real direction(const RuleScalars&, const Real&, const Real& g, Real&,
                                         Real&) {
    return g;
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real direction_again(const RuleScalars& s, const Real& p, const Real& g,
                                               const Real&, const Real&) {
    return g + s.decay * p;
  }
  template <typename Real>
  KILN_HOST_DEVICE static Real apply(const RuleScalars& s, const Real& p, const Real& u, Real& m) {
    return LarsRule::apply(s, p, u, m);
  }
};

}  // namespace kiln
