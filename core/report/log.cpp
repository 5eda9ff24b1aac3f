#include "core/report/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "core/base/error.h"

namespace kiln {

namespace {

/// Standard error with one status line kept below the messages.
class Console : public spdlog::sinks::base_sink<std::mutex> {
 public:
  bool is_terminal() const { return is_terminal_; }

  void set_status(const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (!is_terminal_ || text == status_) return;
    status_ = text;
    std::fprintf(stderr, "\r\033[K%s", status_.c_str());
    std::fflush(stderr);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const char* prefix = message.level >= spdlog::level::err    ? "error: "
                         : message.level >= spdlog::level::warn ? "warning: "
                                                                : "";
    const std::string_view text(message.payload.data(), message.payload.size());
    const std::string line =
        fmt::format("{}{}{}\n{}", status_.empty() ? "" : "\r\033[K", prefix, text, status_);
    std::fputs(line.c_str(), stderr);
  }
  void flush_() override { std::fflush(stderr); }

 private:
  // Under mpirun standard error is a pipe; `kiln launch` knows whether a terminal is at its end.
  const bool is_terminal_ =
      isatty(STDERR_FILENO) == 1 || std::getenv("KILN_STDERR_IS_TERMINAL") != nullptr;
  std::string status_;
};

struct Log {
  int rank = 0;
  std::shared_ptr<Console> console = std::make_shared<Console>();
  std::shared_ptr<spdlog::logger> logger = std::make_shared<spdlog::logger>("kiln", console);
};

Log& the_log() {
  static Log log;
  return log;
}

}  // namespace

void start_logging(int rank) {
  the_log().rank = rank;
  if (rank != 0) the_log().logger->sinks().clear();
}

void log_to_folder(const std::filesystem::path& run_folder) {
  const int rank = the_log().rank;
  const std::filesystem::path path =
      rank == 0 ? run_folder / "log.txt" : run_folder / "ranks" / fmt::format("{:04}.log", rank);
  try {
    std::filesystem::create_directories(path.parent_path());
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    file->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
    the_log().logger->sinks().push_back(std::move(file));
    the_log().logger->flush_on(spdlog::level::info);
  } catch (const std::exception& error) {
    throw checkpoint_error("the log {} cannot be written: {}. Is the run folder writable?",
                           path.string(), error.what());
  }
}

void log_message(LogLevel level, std::string_view message) {
  const auto spd_level = level == LogLevel::kInfo      ? spdlog::level::info
                         : level == LogLevel::kWarning ? spdlog::level::warn
                                                       : spdlog::level::err;
  the_log().logger->log(spd_level, spdlog::string_view_t(message.data(), message.size()));
}

void set_status_line(const std::string& text) {
  if (the_log().rank == 0) the_log().console->set_status(text);
}

bool has_status_line() { return the_log().rank == 0 && the_log().console->is_terminal(); }

}  // namespace kiln
