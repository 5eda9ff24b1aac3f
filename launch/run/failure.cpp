#include "launch/run/failure.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "core/base/launcher_rank.h"
#include "core/report/log.h"

namespace kiln {

namespace {

/// The first to create a file in the launcher's own folder for this job speaks. That folder goes
/// when the job does; without one, everybody speaks.
bool is_first_to_fail() {
  if (launcher_rank().size == 1) return true;
  const char* folder = std::getenv("PMIX_SERVER_TMPDIR");
  if (!folder) return true;
  const std::filesystem::path marker = std::filesystem::path(folder) / "kiln-failure";
  const int descriptor = ::open(marker.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (descriptor < 0) return errno != EEXIST;
  ::close(descriptor);
  return true;
}

}  // namespace

void leave_note(ExitCode code) {
  const char* note = std::getenv("KILN_FAILURE_NOTE");
  if (!note || code == ExitCode::kDone) return;
  const int descriptor = ::open(note, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (descriptor < 0) return;  // another rank was first
  const std::string text = std::to_string(static_cast<int>(code));
  if (::write(descriptor, text.data(), text.size()) < 0) ::unlink(note);
  ::close(descriptor);
}

int fail(ExitCode code, const std::string& message) {
  set_status_line("");
  leave_note(code);
  if (is_first_to_fail()) {
    // One write, so that lines of several processes do not mix.
    const std::string line = "kiln: error: " + message + "\n";
    if (::write(STDERR_FILENO, line.data(), line.size()) < 0) return static_cast<int>(code);
  } else {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  return static_cast<int>(code);
}

}  // namespace kiln
