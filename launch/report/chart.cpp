#include "launch/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/report/progress_bar.h"
#include "launch/report/html.h"

namespace kiln {

namespace {

// Of the SVG's view box; the text is laid out for about one unit a pixel.
constexpr double kWidth = 560, kHeight = 220;
constexpr double kLeft = 64, kRight = 12, kTop = 10, kBottom = 28;
constexpr std::size_t kMaxPoints = 600;

struct Scale {
  double low, high, begin, end;
  bool is_log = false;
  double operator()(double value) const {
    const double at =
        is_log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return begin + at * (end - begin);
  }
};

Curve thinned(const Curve& curve) {
  const std::size_t count = curve.values.size();
  if (count <= kMaxPoints) return curve;
  Curve result;
  for (std::size_t part = 0; part < kMaxPoints; ++part) {
    const std::size_t begin = part * count / kMaxPoints, end = (part + 1) * count / kMaxPoints;
    double samples = 0, value = 0;
    for (std::size_t i = begin; i < end; ++i) samples += curve.samples[i], value += curve.values[i];
    result.samples.push_back(samples / static_cast<double>(end - begin));
    result.values.push_back(value / static_cast<double>(end - begin));
  }
  return result;
}

/// Mean over the neighbours within a thirtieth of the curve's length on either side.
Curve smoothed(const Curve& curve) {
  Curve result = curve;
  const std::size_t count = curve.values.size(), reach = count / 30;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = i > reach ? i - reach : 0, end = std::min(count, i + reach + 1);
    double sum = 0;
    for (std::size_t k = begin; k < end; ++k) sum += curve.values[k];
    result.values[i] = sum / static_cast<double>(end - begin);
  }
  return result;
}

std::string path_of(const Curve& curve, const Scale& x, const Scale& y) {
  std::string path;
  for (std::size_t i = 0; i < curve.values.size(); ++i) {
    path += fmt::format("{}{:.1f} {:.1f}", i ? "L" : "M", x(curve.samples[i]), y(curve.values[i]));
  }
  return path;
}

std::string short_count(double count) {
  if (count >= 1e9) return fmt::format("{:.3g}G", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.3g}M", count / 1e6);
  if (count >= 1e3) return fmt::format("{:.3g}k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

Scale value_scale(const ChartOptions& options, const Curve& curve) {
  auto [low, high] = std::ranges::minmax(curve.values);
  const bool is_log = options.log_scale && low > 0 && high > 2 * low;
  if (options.starts_at_zero) low = std::min(low, 0.0);
  if (low == high) low -= std::abs(low) * 0.1 + 1e-12, high += std::abs(high) * 0.1 + 1e-12;
  const double margin = (high - low) * 0.04;
  if (is_log) return {low * 0.96, high * 1.04, kHeight - kBottom, kTop, true};
  return {options.starts_at_zero ? low : low - margin, high + margin, kHeight - kBottom, kTop};
}

std::vector<double> value_ticks(const Scale& y) {
  if (!y.is_log) return round_ticks(y.low, y.high, 5);
  std::vector<double> ticks;
  for (double decade = std::pow(10, std::floor(std::log10(y.low))); decade <= y.high;
       decade *= 10) {
    for (const double step : {1, 2, 5}) {
      if (decade * step >= y.low && decade * step <= y.high) ticks.push_back(decade * step);
    }
  }
  return ticks.size() >= 2 && ticks.size() <= 9 ? ticks : round_ticks(y.low, y.high, 5);
}

std::string axes(const ChartOptions& options, const Scale& x, const Scale& y) {
  std::string svg;
  for (const double tick : value_ticks(y)) {
    svg += fmt::format(
        "<line class=grid x1={} x2={} y1={:.1f} y2={:.1f} /><text x={} y={:.1f} "
        "text-anchor=end>{}</text>",
        kLeft, kWidth - kRight, y(tick), y(tick), kLeft - 8, y(tick) + 4,
        fmt::format(fmt::runtime(options.value_format), tick));
  }
  for (const double tick : round_ticks(x.low, x.high, 6)) {
    svg += fmt::format("<text x={:.1f} y={} text-anchor=middle>{}</text>", x(tick), kHeight - 8,
                       short_count(tick));
  }
  return svg;
}

}  // namespace

std::vector<double> round_ticks(double low, double high, int count) {
  const double raw = (high - low) / count;
  const double decade = std::pow(10, std::floor(std::log10(raw)));
  const double ratio = raw / decade;
  const double step = decade * (ratio < 1.5 ? 1 : ratio < 3.5 ? 2 : ratio < 7.5 ? 5 : 10);
  std::vector<double> ticks;
  for (double k = std::ceil(low / step); k * step <= high * (1 + 1e-12); ++k) {
    ticks.push_back(k == 0 ? 0.0 : k * step);
  }
  return ticks;
}

std::string line_chart(const ChartOptions& options, const Curve& curve) {
  Curve finite;
  for (std::size_t i = 0; i < curve.values.size(); ++i) {
    if (!std::isfinite(curve.values[i])) continue;
    finite.samples.push_back(curve.samples[i]);
    finite.values.push_back(curve.values[i]);
  }
  if (finite.values.empty()) return "";
  const Curve raw = thinned(finite);
  const double first = raw.samples.front(), last = raw.samples.back();
  const Scale x{first, last > first ? last : first + 1, kLeft, kWidth - kRight};
  const Scale y = value_scale(options, raw);
  const std::string newest = fmt::format(fmt::runtime(options.value_format), finite.values.back());
  std::string svg = fmt::format(
      "<figure class=chart><figcaption>{}<b>{}</b></figcaption><svg viewBox=\"0 0 {} {}\" role=img "
      "aria-label=\"{}\">",
      escape_html(options.title), newest, kWidth, kHeight, escape_html(options.title));
  svg += axes(options, x, y);
  svg += fmt::format("<path class=raw d=\"{}\" />", path_of(raw, x, y));
  svg += fmt::format("<path class=line d=\"{}\" />", path_of(smoothed(raw), x, y));
  if (raw.values.size() == 1) {
    svg += fmt::format("<circle class=dot cx={:.1f} cy={:.1f} r=3 />", x(first), y(raw.values[0]));
  }
  return svg + "</svg></figure>";
}

std::string stacked_bar(const std::vector<Part>& parts) {
  double total = 0;
  for (const Part& part : parts) total += part.value;
  if (total <= 0) return "";
  std::string bar = "<div class=bar>", legend = "<ul class=legend>";
  int number = 0;
  for (const Part& part : parts) {
    const double percent = 100 * part.value / total;
    bar += fmt::format("<i class=part{} style=\"width:{:.2f}%\"></i>", number, percent);
    legend += fmt::format("<li><i class=part{}></i>{} <b>{:.1f}%</b> <span>{}</span></li>", number,
                          escape_html(part.name), percent, format_duration(part.value));
    ++number;
  }
  return bar + "</div>" + legend + "</ul>";
}

}  // namespace kiln
