#pragma once

#include <string>
#include <vector>

#include "launch/report/run_history.h"

namespace kiln {

struct ChartOptions {
  std::string title;
  std::string value_format = "{:.4g}";  // of the labels on the value axis, for fmt
  bool log_scale = false;               // used when all values are positive
  bool starts_at_zero = false;
};

/// A line chart as inline SVG that fills the width of its container: value over samples, a smoothed
/// line above the raw one. Colours come from CSS classes (report_style.h). Curves of more than 600
/// points are drawn by their means over equal parts.
std::string line_chart(const ChartOptions& options, const Curve& curve);

/// One horizontal bar cut into named parts with a legend: where the time went.
struct Part {
  std::string name;
  double value = 0.0;
};
std::string stacked_bar(const std::vector<Part>& parts);

/// About `count` round numbers (1, 2 or 5 times a power of ten) that cover [low, high].
std::vector<double> round_ticks(double low, double high, int count);

}  // namespace kiln
