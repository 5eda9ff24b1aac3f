#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace kiln {

enum class LogLevel { kInfo, kWarning, kError };

/// Sends messages of rank 0 to standard error, those of other ranks nowhere, until log_to_folder().
/// Called once, first thing in a process that trains or evaluates.
void start_logging(int rank);

/// From now on messages also go to RUN/log.txt (rank 0) or RUN/ranks/NNNN.log (others).
void log_to_folder(const std::filesystem::path& run_folder);

/// Thread safe. One line; the time stands before it in files.
void log_message(LogLevel level, std::string_view message);

/// Keeps `text` as the last line of the terminal, below all messages: the progress bar. Empty text
/// removes it. Does nothing on other ranks and when standard error is not a terminal.
void set_status_line(const std::string& text);
bool has_status_line();

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_message(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace kiln
