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
  const float next = RuleT::apply(s, p, u, m);
  return next < -s.bound ? -s.bound : s.bound < next ? s.bound : next;
}

}  // namespace kiln
