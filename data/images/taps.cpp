#include "data/images/taps.h"

#include <algorithm>
#include <cmath>

namespace kiln {
namespace {

// Both pieces are computed and one is chosen, so that the loop over taps has no branches.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  const double inner = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  const double outer = (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return x < 1.0 ? inner : x < 2.0 ? outer : 0.0;
}

double triangle(double x) { return std::max(1.0 - std::abs(x), 0.0); }

std::int32_t to_fixed(double weight) {
  const double scaled = weight * (1 << TapTable::kPrecisionBits);
  return static_cast<std::int32_t>(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

}  // namespace

TapTable::TapTable(std::int64_t input_size, std::int64_t out_size, std::int64_t begin,
                   std::int64_t count, Filter filter)
    : in_size(input_size), taps(static_cast<std::size_t>(count)) {
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
  const double stretch = std::max(scale, 1.0);
  const double support = (filter == Filter::kBilinear ? 1.0 : 2.0) * stretch;
  const double shrink = 1.0 / stretch;
  const std::int64_t width = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  weights.resize(static_cast<std::size_t>(count * width));
  std::vector<double> exact_weights(static_cast<std::size_t>(width));
  double* exact = exact_weights.data();
  for (std::int64_t i = 0; i < count; ++i) {
    const double center = (static_cast<double>(begin + i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto end = std::min(static_cast<std::int64_t>(center + support + 0.5), in_size);
    const auto fill = [&](const auto& kernel) {
      for (std::int64_t k = 0; k < end - first; ++k) {
        exact[k] = kernel((static_cast<double>(first + k) - center + 0.5) * shrink);
      }
    };
    if (filter == Filter::kBilinear) {
      fill(triangle);
    } else {
      fill(bicubic);
    }
    double sum = 0.0;
    for (std::int64_t k = 0; k < end - first; ++k) sum += exact[k];
    std::int32_t* fixed = weights.data() + i * width;
    for (std::int64_t k = 0; k < end - first; ++k) fixed[k] = to_fixed(exact[k] / sum);
    taps[static_cast<std::size_t>(i)] = {first, end - first, fixed};
  }
}

}  // namespace kiln
