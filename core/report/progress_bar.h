#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace kiln {

/// "1 h 02 min", "3 min 07 s", "12.3 s", "450 ms".
std::string format_duration(double seconds);
/// "1.5 GiB", "320 KiB".
std::string format_bytes(double bytes);
/// "1,234,567".
std::string format_count(std::int64_t count);
/// With its noun: "1 shard", "2 shards".
std::string format_count(std::int64_t count, std::string_view noun);

/// A bar on the terminal's last line with speed and time left; when standard error is no terminal,
/// a line of text every ten seconds instead. Thread compatible.
///
///   import  [########------------]  41%  123,456 of 300,000 images  5,210/s  34 s left  loss 0.412
class ProgressBar {
 public:
  /// `unit`: what is counted, in the plural. `already`: done before this process started, left out
  /// of the speed.
  ProgressBar(std::string title, std::string unit, std::int64_t total, std::int64_t already = 0);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Shows `done` (of `total`) and a few words after it. Redraws at most ten times a second.
  void update(std::int64_t done, const std::string& words = "");

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(std::int64_t done, const std::string& words) const;
  std::string title_, unit_;
  std::int64_t total_, already_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_shown_{};
};

}  // namespace kiln
