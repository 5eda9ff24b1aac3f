#include "models/transport/line.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/error.h"

namespace kiln {
namespace {

struct Mass {
  double x, weight;
};

std::vector<Mass> sorted(const LinePoints& points) {
  KILN_CHECK(points.weights.empty() || points.weights.size() == points.x.size(),
             "{} weights of {} points", points.weights.size(), points.x.size());
  const double equal = 1.0 / static_cast<double>(points.x.size());
  std::vector<Mass> masses(points.x.size());
  for (std::size_t i = 0; i < masses.size(); ++i) {
    masses[i] = {points.x[i], points.weights.empty() ? equal : points.weights[i]};
  }
  std::ranges::stable_sort(masses, {}, &Mass::x);
  return masses;
}

double power(double distance, double p) {
  return p == 1.0 ? distance : p == 2.0 ? distance * distance : std::pow(distance, p);
}

}  // namespace

double line_transport(const LinePoints& a, const LinePoints& b, double p) {
  std::vector<Mass> left = sorted(a), right = sorted(b);
  double sum = 0.0;
  for (std::size_t i = 0, j = 0; i < left.size() && j < right.size();) {
    const double moved = std::min(left[i].weight, right[j].weight);
    sum += moved * power(std::abs(left[i].x - right[j].x), p);
    left[i].weight -= moved;
    right[j].weight -= moved;
    // The one that is empty; at the end both may keep what rounding left.
    if (left[i].weight <= right[j].weight) {
      ++i;
    } else {
      ++j;
    }
  }
  return sum;
}

double line_energy_distance(const LinePoints& a, const LinePoints& b) {
  std::vector<Mass> steps = sorted(a);  // of F - G
  for (const Mass& mass : sorted(b)) steps.push_back({mass.x, -mass.weight});
  std::ranges::stable_sort(steps, {}, &Mass::x);
  double difference = 0.0, sum = 0.0;
  for (std::size_t i = 0; i + 1 < steps.size(); ++i) {
    difference += steps[i].weight;
    sum += difference * difference * (steps[i + 1].x - steps[i].x);
  }
  return 2 * sum;
}

}  // namespace kiln
