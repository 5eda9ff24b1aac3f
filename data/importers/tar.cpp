#include "data/importers/tar.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <map>
#include <memory>

#include "core/base/error.h"
#include "data/store/files.h"
#include "data/tokenizer/text_file.h"

namespace kiln {
namespace {

constexpr std::int64_t kBlock = 512;

struct FreeArchive {
  void operator()(archive* reader) const { archive_read_free(reader); }
};

bool is_zero(const File& file, std::int64_t begin, std::int64_t end) {
  std::vector<char> piece(1 << 16);
  for (; begin < end; begin += std::ssize(piece)) {
    const std::int64_t count = std::min(std::ssize(piece), end - begin);
    file.read_at(piece.data(), count, begin);
    if (!std::all_of(piece.begin(), piece.begin() + count, [](char c) { return c == 0; })) {
      return false;
    }
  }
  return true;
}

class TarReader {
 public:
  explicit TarReader(const std::filesystem::path& path)
      : path_(path), file_(File::open_read(path)), size_(file_.size_bytes()) {
    if (const std::string packing = compression_of(file_); !packing.empty()) {
      throw data_error(
          "'{}' is not an uncompressed tar archive but compressed with {}: unpack it first, "
          "members "
          "are read where they lie",
          path.string(), packing);
    }
    if (size_ == 0) throw data_error("'{}' is empty, not a tar archive", path.string());
  }

  TarContents read() {
    archive_read_support_format_tar(reader_.get());
    if (archive_read_open_filename(reader_.get(), path_.c_str(), 1 << 16) != ARCHIVE_OK) fail();
    archive_entry* entry = nullptr;
    while (true) {
      const int status = archive_read_next_header(reader_.get(), &entry);
      if (status == ARCHIVE_EOF) break;
      if (status < ARCHIVE_WARN) fail();
      add(entry);
      if (archive_read_data_skip(reader_.get()) < ARCHIVE_WARN) fail();
    }
    check_end();
    return std::move(contents_);
  }

 private:
  [[noreturn]] void fail() const {
    const char* reason = archive_error_string(reader_.get());
    throw data_error("'{}' is not an uncompressed tar archive, damaged or cut short{}: {}",
                     path_.string(), last_.empty() ? "" : " behind '" + last_ + "'",
                     reason != nullptr ? reason : "no reason is known");
  }

  void add(archive_entry* entry) {
    const char* name = archive_entry_pathname(entry);
    if (name == nullptr) name = archive_entry_pathname_utf8(entry);
    if (name == nullptr) {
      throw data_error("'{}' has a member behind '{}' whose name cannot be read", path_.string(),
                       last_);
    }
    last_ = name;
    const auto type = archive_entry_filetype(entry);
    if (const char* target = archive_entry_hardlink(entry); target != nullptr) {
      add_link(target);
    } else if (type == AE_IFREG) {
      add_file(entry);
    } else if (type != AE_IFDIR) {
      contents_.left_out.add(type == AE_IFLNK ? "a symbolic link" : "a special file", where());
    }
  }

  void add_file(archive_entry* entry) {
    if (archive_entry_sparse_count(entry) > 0) {
      throw data_error(
          "'{}', '{}': it is stored with holes (sparse), so not as one run of bytes: pack the "
          "archive "
          "without --sparse",
          path_.string(), last_);
    }
    const std::int64_t offset = archive_filter_bytes(reader_.get(), 0);
    const std::int64_t bytes = archive_entry_size(entry);
    if (bytes < 0 || offset > size_ || bytes > size_ - offset) {
      throw data_error("'{}' is cut short within '{}': {} bytes from byte {} of {}", path_.string(),
                       last_, bytes, offset, size_);
    }
    end_ = offset + bytes;
    by_name_[last_] = contents_.files.size();
    contents_.files.push_back({last_, offset, bytes});
  }

  void add_link(const std::string& target) {
    const auto found = by_name_.find(target);
    if (found == by_name_.end()) {
      throw data_error(
          "'{}', '{}': it is a hard link to '{}', which is not in the archive before it",
          path_.string(), last_, target);
    }
    TarEntry entry = contents_.files[found->second];
    entry.name = last_;
    by_name_[last_] = contents_.files.size();
    contents_.files.push_back(std::move(entry));
  }

  std::string where() const { return path_.string() + ": " + last_; }

  /// Blocks of zeros end an archive; an archive that lacks them lost its rest.
  void check_end() const {
    const std::int64_t end = (end_ + kBlock - 1) / kBlock * kBlock;
    const std::int64_t read = std::min<std::int64_t>(archive_filter_bytes(reader_.get(), 0), size_);
    const std::int64_t marker = std::max(end, read - 2 * kBlock);
    if (marker + kBlock > size_ || !is_zero(file_, marker, marker + kBlock)) {
      throw data_error(
          "'{}' is cut short behind '{}': the blocks of zeros that end an archive are missing at "
          "byte {}. Fetch or pack it again",
          path_.string(), last_, marker);
    }
    if (!is_zero(file_, marker, size_)) {
      throw data_error(
          "'{}' goes on behind its end at byte {}: several archives in one file are not read, give "
          "each a file of its own",
          path_.string(), marker);
    }
  }

  std::filesystem::path path_;
  File file_;
  std::int64_t size_;
  std::unique_ptr<archive, FreeArchive> reader_{archive_read_new()};
  TarContents contents_;
  std::map<std::string, std::size_t> by_name_;
  std::string last_;
  std::int64_t end_ = 0;  // of the last file's content
};

}  // namespace

TarContents list_tar(const std::filesystem::path& path) { return TarReader(path).read(); }

}  // namespace kiln
