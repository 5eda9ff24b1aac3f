#include "data/store/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

#include "core/base/error.h"

namespace kiln {
namespace {

Error file_error(std::string_view verb, const std::string& path) {
  return data_error("cannot {} '{}': {}", verb, path, std::strerror(errno));
}

int open_or_throw(const std::string& path, int flags, mode_t mode = 0644) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (descriptor < 0) throw file_error("open", path);
  return descriptor;
}

}  // namespace

File File::open_read(const std::filesystem::path& path) {
  // Opening a pipe would wait for its writer.
  File file(open_or_throw(path.string(), O_RDONLY | O_NONBLOCK), path.string());
  struct stat status = {};
  if (::fstat(file.descriptor_, &status) != 0) throw file_error("stat", path.string());
  if (S_ISDIR(status.st_mode)) throw data_error("'{}' is a folder, not a file", path.string());
  if (!S_ISREG(status.st_mode)) {
    throw data_error(
        "'{}' is a pipe or a device: it is read at several places, so write it to a file first",
        path.string());
  }
  return file;
}
File File::open_temporary() {
  std::string path = (std::filesystem::temp_directory_path() / "kiln-XXXXXX").string();
  const int descriptor = ::mkostemp(path.data(), O_CLOEXEC);
  if (descriptor < 0) throw file_error("create", path);
  ::unlink(path.c_str());
  return {descriptor, path};
}
File File::open_write(const std::filesystem::path& path) {
  return {open_or_throw(path.string(), O_RDWR), path.string()};
}
File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}
File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}
File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

std::int64_t File::size_bytes() const {
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0) throw file_error("stat", path_);
  return status.st_size;
}

void File::read_at(void* out, std::int64_t size, std::int64_t offset) const {
  auto* to = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t count = ::pread(descriptor_, to, static_cast<std::size_t>(size), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw file_error("read", path_);
    if (count == 0) {
      throw data_error("'{}' is truncated: it ends at byte {}, {} more are expected there", path_,
                       offset, size);
    }
    to += count;
    size -= count;
    offset += count;
  }
}

void File::write_at(const void* data, std::int64_t size, std::int64_t offset) const {
  const auto* from = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t count = ::pwrite(descriptor_, from, static_cast<std::size_t>(size), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw file_error("write", path_);
    from += count;
    size -= count;
    offset += count;
  }
}

void File::sync() const {
  if (::fsync(descriptor_) != 0) throw file_error("flush", path_);
}

void File::forget_pages() const { ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED); }

std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
  const File file = File::open_read(path);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(file.size_bytes()));
  file.read_at(bytes.data(), std::ssize(bytes), 0);
  return bytes;
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path partial = path.string() + ".partial";
  ::close(open_or_throw(partial.string(), O_WRONLY | O_CREAT | O_TRUNC));
  const RemoveOnFailure guard(partial);
  {
    const File file = File::open_write(partial);
    file.write_at(text.data(), std::ssize(text), 0);
    file.sync();
  }
  rename_durably(partial, path);
}

RemoveOnFailure::~RemoveOnFailure() {
  std::error_code code;
  if (std::uncaught_exceptions() > num_exceptions_) std::filesystem::remove(path_, code);
}

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw file_error("rename to", to.string());
  const std::string folder = to.has_parent_path() ? to.parent_path().string() : ".";
  const int descriptor = open_or_throw(folder, O_RDONLY | O_DIRECTORY);
  const bool is_flushed = ::fsync(descriptor) == 0;
  const int error = errno;
  ::close(descriptor);
  // Some file systems cannot flush a folder: then the rename itself is durable.
  if (is_flushed || error == EINVAL || error == ENOTSUP) return;
  errno = error;
  throw file_error("flush the folder", folder);
}

}  // namespace kiln
