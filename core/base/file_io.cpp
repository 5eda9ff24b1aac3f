#include "core/base/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace kiln {
namespace {

Error system_error(const char* doing, const std::filesystem::path& path, int error,
                   ExitCode code = ExitCode::kCheckpoint) {
  return {code, fmt::format("cannot {} {}: {}", doing, path.string(), std::strerror(error))};
}

int open_retrying(const std::filesystem::path& path, int flags) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

void sync_descriptor(int descriptor, const std::filesystem::path& path) {
  int result = 0;
  do {
    result = ::fsync(descriptor);
  } while (result < 0 && errno == EINTR);
  if (result < 0) throw system_error("flush to disk", path, errno);
}

class PosixOutputFile : public OutputFile {
 public:
  explicit PosixOutputFile(std::filesystem::path path)
      : path_(std::move(path)), descriptor_(open_retrying(path_, O_WRONLY | O_CREAT | O_TRUNC)) {
    if (descriptor_ < 0) throw system_error("create", path_, errno);
  }
  ~PosixOutputFile() override { ::close(descriptor_); }

  void write(const void* data, std::size_t num_bytes) override {
    constexpr std::size_t kMostBytes = std::size_t{64} << 20;
    const char* next = static_cast<const char*>(data);
    while (num_bytes > 0) {
      const ssize_t written = ::write(descriptor_, next, std::min(num_bytes, kMostBytes));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw system_error("write", path_, errno);
      next += written;
      num_bytes -= static_cast<std::size_t>(written);
    }
  }

  void sync() override { sync_descriptor(descriptor_, path_); }

 private:
  std::filesystem::path path_;
  int descriptor_;
};

class PosixFileSystem : public FileSystem {
 public:
  std::unique_ptr<OutputFile> create(const std::filesystem::path& path) override {
    return std::make_unique<PosixOutputFile>(path);
  }

  void create_directories(const std::filesystem::path& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) throw system_error("create folder", path, error.value());
  }

  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (::rename(from.c_str(), to.c_str()) < 0) throw system_error("rename", from, errno);
  }

  void remove_all(const std::filesystem::path& path) override {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) throw system_error("remove", path, error.value());
  }

  void sync_directory(const std::filesystem::path& path) override {
    const int descriptor = open_retrying(path, O_RDONLY | O_DIRECTORY);
    if (descriptor < 0) throw system_error("open folder", path, errno);
    struct Close {
      int descriptor;
      ~Close() { ::close(descriptor); }
    } const close{descriptor};
    sync_descriptor(descriptor, path);
  }

  std::uint64_t free_bytes(const std::filesystem::path& path) override {
    struct statvfs info {};
    if (::statvfs(path.c_str(), &info) < 0) throw system_error("ask free space of", path, errno);
    return std::uint64_t{info.f_bavail} * info.f_frsize;
  }
};

}  // namespace

FileSystem& posix_file_system() {
  static PosixFileSystem files;
  return files;
}

void write_file_atomically(FileSystem& files, const std::filesystem::path& path,
                           std::string_view text) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  {
    const auto file = files.create(temporary);
    file->write(text.data(), text.size());
    file->sync();
  }
  files.rename(temporary, path);
  files.sync_directory(path.parent_path());
}

std::string read_text_file(const std::filesystem::path& path, ExitCode code) {
  const InputFile file(path, code);
  std::string text(file.size(), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

InputFile::InputFile(std::filesystem::path path, ExitCode code)
    : path_(std::move(path)), code_(code), descriptor_(open_retrying(path_, O_RDONLY)) {
  if (descriptor_ < 0) throw system_error("open", path_, errno, code_);
  struct stat info {};
  const int result = ::fstat(descriptor_, &info);
  if (result < 0 || !S_ISREG(info.st_mode)) {
    const int error = result < 0 ? errno : EISDIR;
    ::close(std::exchange(descriptor_, -1));
    throw system_error("read", path_, error, code_);
  }
  size_ = static_cast<std::uint64_t>(info.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      code_(other.code_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(code_, other.code_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

void InputFile::read(std::uint64_t offset, void* data, std::size_t num_bytes) const {
  char* next = static_cast<char*>(data);
  while (num_bytes > 0) {
    const ssize_t got = ::pread(descriptor_, next, num_bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error("read", path_, errno, code_);
    if (got == 0)
      throw Error(code_, fmt::format("{} ends at byte {}, {} more were expected", path_.string(),
                                     offset, num_bytes));
    next += got;
    offset += static_cast<std::uint64_t>(got);
    num_bytes -= static_cast<std::size_t>(got);
  }
}

}  // namespace kiln
