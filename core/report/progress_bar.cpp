#include "core/report/progress_bar.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/report/log.h"

namespace kiln {

std::string format_duration(double seconds) {
  if (seconds < 1.0) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 60.0) return fmt::format("{:.1f} s", seconds);
  const auto whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string format_bytes(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  while (bytes >= 1024.0 && unit + 1 < kUnits.size()) {
    bytes /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string format_count(std::int64_t count) {
  std::string digits = std::to_string(count < 0 ? -count : count);
  for (auto at = static_cast<std::int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return (count < 0 ? "-" : "") + digits;
}

std::string format_count(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", format_count(count), noun, count == 1 ? "" : "s");
}

ProgressBar::ProgressBar(std::string title, std::string unit, std::int64_t total,
                         std::int64_t already)
    : title_(std::move(title)), unit_(std::move(unit)), total_(total), already_(already) {}

ProgressBar::~ProgressBar() { set_status_line(""); }

void ProgressBar::update(std::int64_t done, const std::string& words) {
  const auto now = Clock::now();
  const auto pause = has_status_line() ? std::chrono::milliseconds(100) : std::chrono::seconds(10);
  if (now - last_shown_ < pause && done < total_) return;
  last_shown_ = now;
  if (has_status_line()) {
    set_status_line(line(done, words));
  } else if (now - start_ >= pause) {  // short work needs no report
    log_info("{}", line(done, words));
  }
}

std::string ProgressBar::line(std::int64_t done, const std::string& words) const {
  constexpr int kWidth = 24;
  const double fraction =
      total_ > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0)
                 : 0.0;
  const int filled = static_cast<int>(fraction * kWidth);
  const double elapsed_s = std::chrono::duration<double>(Clock::now() - start_).count();
  const double per_s = static_cast<double>(done - already_) / std::max(elapsed_s, 1e-9);
  std::string text = fmt::format("{}  [{}{}] {:3.0f}%  {} of {} {}", title_,
                                 std::string(filled, '#'), std::string(kWidth - filled, '-'),
                                 fraction * 100.0, format_count(done), format_count(total_), unit_);
  if (done > already_ && elapsed_s > 0.5) {
    text += fmt::format("  {:.{}f}/s", per_s, per_s < 10.0 ? 1 : 0);
    text += done < total_ ? fmt::format("  {} left",
                                        format_duration(static_cast<double>(total_ - done) / per_s))
                          : fmt::format("  in {}", format_duration(elapsed_s));
  }
  if (!words.empty()) text += "  " + words;
  return text;
}

}  // namespace kiln
