#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace kiln {

/// Exit statuses of the program; scripts and schedulers rely on them.
enum class ExitCode : int {
  kDone = 0,
  kInternal = 1,
  kUsage = 2,          // command line or recipe
  kData = 3,           // a dataset that is missing, damaged or does not fit
  kCheckpoint = 4,     // a checkpoint or run folder that cannot be read or written
  kCommunication = 5,  // a lost rank or a wait that ran out of time
  kDiverged = 6,       // loss or gradient no longer finite
  kStopped = 75,       // stopped by a signal after saving: run the same command again
};

/// What a user did or what the surroundings did to us. The message says what is wrong, where, what
/// was found and expected, and how to fix it. main() prints it once and exits with `code()`.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

template <typename... Args>
Error usage_error(fmt::format_string<Args...> format, Args&&... args) {
  return {ExitCode::kUsage, fmt::format(format, std::forward<Args>(args)...)};
}
template <typename... Args>
Error data_error(fmt::format_string<Args...> format, Args&&... args) {
  return {ExitCode::kData, fmt::format(format, std::forward<Args>(args)...)};
}
template <typename... Args>
Error checkpoint_error(fmt::format_string<Args...> format, Args&&... args) {
  return {ExitCode::kCheckpoint, fmt::format(format, std::forward<Args>(args)...)};
}
template <typename... Args>
Error communication_error(fmt::format_string<Args...> format, Args&&... args) {
  return {ExitCode::kCommunication, fmt::format(format, std::forward<Args>(args)...)};
}

[[noreturn]] void check_failed(const char* condition, const char* file, int line,
                               const std::string& message);

}  // namespace kiln

/// Invariant of our own code: always on, and a failure is a bug in Kiln (exit status 1).
#define KILN_CHECK(condition, ...)                                                         \
  do {                                                                                     \
    if (!(condition)) [[unlikely]] {                                                       \
      ::kiln::check_failed(#condition, __FILE__, __LINE__, ::fmt::format("" __VA_ARGS__)); \
    }                                                                                      \
  } while (false)
