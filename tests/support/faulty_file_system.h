#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/file_io.h"

namespace kiln {

/// The real file system until operation number `fail_at` (counted from 0, writes and flushes
/// included). That one fails as on a full disk, half a write done; as a kill, so do all that
/// follow.
///
/// Flushes are only noted. power_cut() takes away what none had made durable: it cuts files to what
/// was flushed, removes files whose folder was not, and takes renames back.
class FaultyFileSystem : public FileSystem {
 public:
  enum class Fault { kNone, kDiskFull, kKill };

  void arm(Fault fault, int fail_at) {
    fault_ = fault;
    fail_at_ = fail_at;
    num_operations_ = 0;
  }
  int num_operations() const { return num_operations_; }
  void set_free_bytes(std::uint64_t num_bytes) { free_bytes_ = num_bytes; }

  std::unique_ptr<OutputFile> create(const std::filesystem::path& path) override {
    operation("create", path);
    auto file = real_.create(path);
    const std::lock_guard lock(mutex_);
    if (durable_bytes_.emplace(path, 0).second) unsynced_entries_.insert(path);
    return std::make_unique<File>(*this, path, std::move(file));
  }
  void create_directories(const std::filesystem::path& path) override {
    operation("create folder", path);
    real_.create_directories(path);
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    operation("rename", from);
    real_.rename(from, to);
    const std::lock_guard lock(mutex_);
    unsynced_renames_.emplace_back(from, to);
    std::map<std::filesystem::path, std::uint64_t> moved;
    for (const auto& [path, num_bytes] : durable_bytes_)
      moved[moved_path(path, from, to)] = num_bytes;
    durable_bytes_ = moved;
    std::set<std::filesystem::path> entries;
    for (const auto& path : unsynced_entries_) entries.insert(moved_path(path, from, to));
    unsynced_entries_ = entries;
  }
  void remove_all(const std::filesystem::path& path) override {
    operation("remove", path);
    real_.remove_all(path);
  }
  void sync_directory(const std::filesystem::path& path) override {
    operation("flush", path);
    const std::lock_guard lock(mutex_);
    std::erase_if(unsynced_renames_,
                  [&](const auto& rename) { return rename.second.parent_path() == path; });
    std::erase_if(unsynced_entries_,
                  [&](const auto& entry) { return entry.parent_path() == path; });
  }
  std::uint64_t free_bytes(const std::filesystem::path& path) override {
    operation("ask free space of", path);
    return free_bytes_;
  }

  void power_cut() {
    namespace fs = std::filesystem;
    for (const auto& path : unsynced_entries_) fs::remove(path);
    for (const auto& [path, num_bytes] : durable_bytes_)
      if (fs::exists(path) && fs::file_size(path) > num_bytes) fs::resize_file(path, num_bytes);
    for (auto rename = unsynced_renames_.rbegin(); rename != unsynced_renames_.rend(); ++rename)
      if (fs::exists(rename->second) && !fs::exists(rename->first))
        fs::rename(rename->second, rename->first);
  }

 private:
  class File : public OutputFile {
   public:
    File(FaultyFileSystem& owner, std::filesystem::path path, std::unique_ptr<OutputFile> file)
        : owner_(owner), path_(std::move(path)), file_(std::move(file)) {}
    void write(const void* data, std::size_t num_bytes) override {
      try {
        owner_.operation("write", path_);
      } catch (const Error&) {
        file_->write(data, num_bytes / 2);
        throw;
      }
      file_->write(data, num_bytes);
      written_ += num_bytes;
    }
    void sync() override {
      owner_.operation("flush", path_);
      const std::lock_guard lock(owner_.mutex_);
      owner_.durable_bytes_[path_] = written_;
    }

   private:
    FaultyFileSystem& owner_;
    std::filesystem::path path_;
    std::unique_ptr<OutputFile> file_;
    std::uint64_t written_ = 0;
  };

  void operation(const char* doing, const std::filesystem::path& path) {
    const std::lock_guard lock(mutex_);
    const int number = num_operations_++;
    const bool fails = fault_ == Fault::kKill ? number >= fail_at_
                                              : fault_ == Fault::kDiskFull && number == fail_at_;
    if (fails)
      throw checkpoint_error("cannot {} {}: No space left on device", doing, path.string());
  }
  static std::filesystem::path moved_path(const std::filesystem::path& path,
                                          const std::filesystem::path& from,
                                          const std::filesystem::path& to) {
    if (path == from) return to;
    const std::string prefix = from.string() + '/';
    const std::string text = path.string();
    return text.rfind(prefix, 0) == 0 ? to / text.substr(prefix.size()) : path;
  }

  FileSystem& real_ = posix_file_system();
  std::mutex mutex_;
  Fault fault_ = Fault::kNone;
  int fail_at_ = 0;
  int num_operations_ = 0;
  std::uint64_t free_bytes_ = std::uint64_t{1} << 40;
  std::map<std::filesystem::path, std::uint64_t> durable_bytes_;
  std::set<std::filesystem::path> unsynced_entries_;
  std::vector<std::pair<std::filesystem::path, std::filesystem::path>> unsynced_renames_;
};

}  // namespace kiln
