#pragma once

#include "core/optimizer/optimizer_rules.h"

namespace kiln {

/// One element's update, the same on host and device: returns the new parameter, updates the
/// moments. kIsFinishing: the moments are those of the first pass of a rule with trust ratio.
template <typename RuleT, bool kIsFinishing>
KILN_HOST_DEVICE inline float updated(const RuleScalars& s, float p, float g, float& m, float& v) {
  float u;
  if constexpr (kIsFinishing) {
    u = RuleT::direction_again(s, p, g, m, v);
  } else {
    u = RuleT::direction(s, p, g, m, v);
  }
  return RuleT::apply(s, p, u, m);
}

/// Within the bound of the weights, if there is one.
KILN_HOST_DEVICE inline float bounded(const RuleScalars& s, float p) {
  return p < -s.bound ? -s.bound : s.bound < p ? s.bound : p;
}

}  // namespace kiln
