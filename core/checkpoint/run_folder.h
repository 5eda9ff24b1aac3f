#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/file_io.h"

namespace kiln {

/// RUN/, held by one live run at a time. Rank 0 opens it; the others learn attempt() from rank 0.
///
/// RUN/lock is flocked. That excludes processes of one host, and of several hosts where the file
/// system supports flock between hosts. Where it does not, the holder's host and a heartbeat
/// counter in the file decide: a counter that moves while we watch belongs to a live run. Clocks
/// are never compared.
class RunFolder {
 public:
  struct Options {
    std::chrono::milliseconds heartbeat{2000};
    /// A holder on another host counts as dead when its counter has not moved for so long.
    std::chrono::milliseconds patience{7000};
    std::string host;  // for tests; empty: this machine
  };

  /// Creates RUN/ where needed, takes the lock, raises RUN/attempt, removes what interrupted saves
  /// left. Throws Error(kCheckpoint) when the folder cannot be written or is in use.
  static RunFolder open(const std::filesystem::path& run_dir, Options options,
                        FileSystem& files = posix_file_system());
  static RunFolder open(const std::filesystem::path& run_dir);
  /// Releases the lock.
  ~RunFolder();
  RunFolder(RunFolder&&) noexcept;
  RunFolder& operator=(RunFolder&&) noexcept;

  const std::filesystem::path& path() const;
  /// 1 for the first start in this folder.
  std::int64_t attempt() const;

 private:
  struct Impl;
  explicit RunFolder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The process that holds RUN/, as RUN/lock has it: for onlookers. `beat` moves while it lives.
struct RunHolder {
  std::string host;
  std::int64_t pid = 0;
  std::int64_t attempt = 0;
  std::int64_t beat = 0;
  friend bool operator==(const RunHolder&, const RunHolder&) = default;
};
std::optional<RunHolder> read_holder(const std::filesystem::path& run_dir);

/// RUN/attempt, or 0 if there is none.
std::int64_t read_attempt(const std::filesystem::path& run_dir);

/// Compares the identity keys of a stored run with the recipe's. Throws Error(kUsage) listing every
/// key that differs, both values, and how to allow it, unless allow_change names the key or its
/// section. Returns the keys that differ and were allowed.
std::vector<std::string> check_identity(const std::map<std::string, std::string>& stored,
                                        const std::map<std::string, std::string>& current,
                                        const std::vector<std::string>& allow_change,
                                        const std::string& origin);

}  // namespace kiln
