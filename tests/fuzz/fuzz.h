#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/base/error.h"

// What the fuzzing targets share. A target hands its bytes to one reader: an Error is the right answer
// to bytes that are not to be read; any other exception, a signal or a hang is a finding.

namespace kiln {

template <typename Read>
int fuzz(const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    if (error.code() == ExitCode::kInternal) std::abort();
  }
  return 0;
}

/// The bytes of one input as a file in memory, for readers that take paths.
class MemoryFile {
 public:
  MemoryFile(const std::uint8_t* data, std::size_t size) {
    static const int descriptor = ::memfd_create("fuzz", 0);
    if (descriptor < 0 || ::ftruncate(descriptor, 0) != 0) std::abort();
    if (size > 0 && ::pwrite(descriptor, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
    path_ = "/proc/self/fd/" + std::to_string(descriptor);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace kiln
