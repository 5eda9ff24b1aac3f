#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace kiln {

/// A file being written from its start. Every member throws Error(kCheckpoint) naming operation,
/// path and the system's reason. The destructor closes; only sync() promises durability.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual void write(const void* data, std::size_t num_bytes) = 0;  // all of it
  virtual void sync() = 0;                                          // fsync
};

/// Everything that changes a run folder goes through this interface, so that a test can fail or
/// "kill" a save at any one of its operations.
///
/// Thread safety: members may be called from several threads, for different paths.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  /// Truncates an existing file.
  virtual std::unique_ptr<OutputFile> create(const std::filesystem::path& path) = 0;
  /// With parents; fine if it is there already.
  virtual void create_directories(const std::filesystem::path& path) = 0;
  /// Atomic; replaces a file, or an empty directory by a directory.
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// A file or a whole folder; fine if there is none.
  virtual void remove_all(const std::filesystem::path& path) = 0;
  /// Makes creations, renames and removals in a directory durable.
  virtual void sync_directory(const std::filesystem::path& path) = 0;
  /// Bytes an ordinary user may still write there.
  virtual std::uint64_t free_bytes(const std::filesystem::path& path) = 0;
};

/// The real one. Writes in pieces of at most 64 MiB, resumes interrupted calls.
FileSystem& posix_file_system();

/// Puts `text` in place of `path` so that a reader sees the old content or the new, also after a
/// power cut: writes PATH.tmp, fsync, rename, fsync of the directory.
void write_file_atomically(FileSystem& files, const std::filesystem::path& path,
                           std::string_view text);

/// Whole content. Throws Error(code) naming path and reason.
std::string read_text_file(const std::filesystem::path& path,
                           ExitCode code = ExitCode::kCheckpoint);

/// A file read at given offsets, by any number of threads (pread, no shared position). A file cut
/// short by somebody else while we read is an Error here, not a signal, as with a mapping.
class InputFile {
 public:
  explicit InputFile(std::filesystem::path path, ExitCode code = ExitCode::kCheckpoint);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  std::uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  /// Exactly num_bytes, or Error.
  void read(std::uint64_t offset, void* data, std::size_t num_bytes) const;

 private:
  std::filesystem::path path_;
  ExitCode code_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace kiln
