#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kiln {

/// A file descriptor. All functions throw Error(kData) naming the file and the system's reason.
class File {
 public:
  /// Plain files only: a pipe or a device could wait forever, or end nowhere.
  static File open_read(const std::filesystem::path& path);
  /// An empty file without a name, for reading and writing; gone with this object.
  static File open_temporary();
  /// An existing file, for writing parts of it.
  static File open_write(const std::filesystem::path& path);
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  std::int64_t size_bytes() const;
  /// Reads exactly `size` bytes at `offset`; safe to call from many threads at once.
  void read_at(void* out, std::int64_t size, std::int64_t offset) const;
  void write_at(const void* data, std::int64_t size, std::int64_t offset) const;
  void sync() const;
  /// Lets the system drop what it caches of the file, so that the next read comes from storage.
  void forget_pages() const;

 private:
  File(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  int descriptor_ = -1;
  std::string path_;
};

/// Removes a file that is being made if an exception leaves the scope.
class RemoveOnFailure {
 public:
  explicit RemoveOnFailure(std::filesystem::path path)
      : path_(std::move(path)), num_exceptions_(std::uncaught_exceptions()) {}
  ~RemoveOnFailure();
  RemoveOnFailure(const RemoveOnFailure&) = delete;
  RemoveOnFailure& operator=(const RemoveOnFailure&) = delete;

 private:
  std::filesystem::path path_;
  int num_exceptions_;
};

std::vector<std::uint8_t> read_file(const std::filesystem::path& path);
/// Writes PATH.partial, flushes it to disk, renames it to PATH and flushes the folder.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);
/// Renames a finished file into place and flushes the folder.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace kiln
