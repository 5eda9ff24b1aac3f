#include "data/tokenizer/text_file.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <array>
#include <memory>

#include "core/base/error.h"
#include "data/store/folder_walk.h"
#include "data/tokenizer/utf8.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

constexpr std::int64_t kHeadBytes = 1 << 16;

struct Magic {
  std::string_view bytes;
  std::string_view name;
};
constexpr std::array<Magic, 5> kPackings = {{{"\x1F\x8B"sv, "gzip"},
                                             {"BZh"sv, "bzip2"},
                                             {"\xFD\x37zXZ\0"sv, "xz"},
                                             {"\x28\xB5\x2F\xFD"sv, "zstd"},
                                             {"\x04\x22\x4D\x18"sv, "lz4"}}};
// UTF-32 before UTF-16, whose mark is the beginning of its own.
constexpr std::array<Magic, 4> kMarks = {{{"\xFF\xFE\0\0"sv, "UTF-32"},
                                          {"\0\0\xFE\xFF"sv, "UTF-32"},
                                          {"\xFF\xFE"sv, "UTF-16"},
                                          {"\xFE\xFF"sv, "UTF-16"}}};
constexpr std::array<Magic, 12> kOthers = {{{"\xFF\xD8\xFF"sv, "a JPEG picture"},
                                            {"\x89PNG"sv, "a PNG picture"},
                                            {"GIF8"sv, "a GIF picture"},
                                            {"%PDF-"sv, "a PDF file"},
                                            {"PK\x03\x04"sv, "a zip archive or an office file"},
                                            {"\x89HDF"sv, "an HDF5 file"},
                                            {"\x7F\x45LF"sv, "a program"},
                                            {"7z\xBC\xAF"sv, "a 7z archive"},
                                            {"Rar!"sv, "a rar archive"},
                                            {"{\\rtf"sv, "an RTF file"},
                                            {"PAR1"sv, "a Parquet file"},
                                            {"ARROW1"sv, "an Arrow file"}}};

std::string read_some(const File& file, std::int64_t begin, std::int64_t size_bytes) {
  std::string text(static_cast<std::size_t>(std::min(kHeadBytes, size_bytes - begin)), '\0');
  file.read_at(text.data(), std::ssize(text), begin);
  return text;
}

/// Whether every second byte is zero, as in UTF-16 of Latin letters.
bool looks_like_utf16(std::string_view text) {
  std::array<std::size_t, 2> zeros = {};
  for (std::size_t i = 0; i < text.size(); ++i) zeros[i % 2] += text[i] == '\0';
  const std::size_t more = std::max(zeros[0], zeros[1]), less = std::min(zeros[0], zeros[1]);
  return more * 4 > text.size() && less * 16 < text.size();
}

/// `is_head`: a file of another kind is told by its first bytes.
void check_piece(std::string_view text, const std::string& what, bool is_head) {
  for (const Magic& magic : kMarks) {
    if (!is_head || !text.starts_with(magic.bytes)) continue;
    throw data_error("{} is {}, not UTF-8: convert it (iconv -f {} -t UTF-8)", what, magic.name,
                     magic.name);
  }
  for (const Magic& magic : kOthers) {
    if (is_head && text.starts_with(magic.bytes)) {
      throw data_error("{} is {}, not text", what, magic.name);
    }
  }
  if (is_head && text.size() >= 262 && text.substr(257, 5) == "ustar") {
    throw data_error("{} is a tar archive, not text: unpack it first", what);
  }
  if (text.find('\0') != text.npos) {
    throw data_error("{} {}, not UTF-8 text", what,
                     looks_like_utf16(text) ? "looks like UTF-16 (iconv -f UTF-16LE -t UTF-8)"
                                            : "holds zero bytes: it is a binary file");
  }
  std::string repaired(text);
  // A sequence cut by the end of the piece is no fault of the text's.
  const std::int64_t num_invalid = repair_utf8(repaired) - 1;
  if (num_invalid > 4 && num_invalid * 100 > std::ssize(text)) {
    throw data_error(
        "{} is not UTF-8: {} bytes in {} are no part of it. Is it Latin-1 or another encoding? "
        "Convert it (iconv -f LATIN1 -t UTF-8)",
        what, num_invalid + 1, text.size());
  }
}

struct FreeArchive {
  void operator()(archive* reader) const { archive_read_free(reader); }
};

File unpack(const fs::path& path, const std::string& packing) {
  const auto fail = [&](archive* reader) {
    const char* reason = archive_error_string(reader);
    return data_error("'{}' is compressed with {}, but damaged or cut short: {}", path.string(),
                      packing, reason != nullptr ? reason : "its end is missing");
  };
  const std::unique_ptr<archive, FreeArchive> reader(archive_read_new());
  archive_read_support_format_raw(reader.get());
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_bzip2(reader.get());
  archive_read_support_filter_xz(reader.get());
  archive_read_support_filter_zstd(reader.get());
  archive_read_support_filter_lz4(reader.get());
  archive_entry* entry = nullptr;
  if (archive_read_open_filename(reader.get(), path.c_str(), 1 << 16) != ARCHIVE_OK) {
    throw fail(reader.get());
  }
  File text = File::open_temporary();
  const int status = archive_read_next_header(reader.get(), &entry);
  if (status == ARCHIVE_EOF) return text;  // of an empty text
  // Without a filter besides the file itself the library took the bytes for no packing at all.
  if (status < ARCHIVE_WARN || archive_filter_count(reader.get()) < 2) throw fail(reader.get());
  std::vector<char> piece(1 << 20);
  std::int64_t at = 0;
  while (true) {
    const la_ssize_t count = archive_read_data(reader.get(), piece.data(), piece.size());
    if (count < 0) throw fail(reader.get());
    if (count == 0) break;
    text.write_at(piece.data(), count, at);
    at += count;
  }
  return text;
}

}  // namespace

std::string compression_of(const File& file) {
  std::string head(6, '\0');
  head.resize(static_cast<std::size_t>(std::min<std::int64_t>(6, file.size_bytes())));
  file.read_at(head.data(), std::ssize(head), 0);
  for (const Magic& magic : kPackings) {
    // A text may begin with "BZh"; in a packed file a digit and 1 follow.
    if (magic.name == "bzip2" && (head.size() < 5 || head[4] != '1')) continue;
    if (head.starts_with(magic.bytes)) return std::string(magic.name);
  }
  return "";
}

void check_text(std::string_view head, const std::string& what) { check_piece(head, what, true); }

File open_text(const fs::path& path) {
  File file = File::open_read(path);
  std::string what = fmt::format("'{}'", path.string());
  if (const std::string packing = compression_of(file); !packing.empty()) {
    file = unpack(path, packing);
    what += fmt::format(" (unpacked from {})", packing);
  }
  const std::int64_t size = file.size_bytes();
  check_text(read_some(file, 0, size), what);
  for (const std::int64_t begin : {size / 2, size - kHeadBytes}) {
    if (begin > kHeadBytes) check_piece(read_some(file, begin, size), what, false);
  }
  return file;
}

std::vector<fs::path> list_text_files(
    const std::vector<fs::path>& inputs,
    const std::function<void(const std::string&, const std::string&)>& left_out) {
  std::vector<fs::path> files;
  for (const fs::path& input : inputs) {
    std::error_code code;
    if (!fs::exists(input, code)) throw data_error("'{}' does not exist", input.string());
    if (!fs::is_directory(input, code)) {
      files.push_back(input);
      continue;
    }
    const FolderContents contents = walk_folder(input);
    if (!contents.broken.empty()) {
      throw data_error("'{}' is {}: remove or mend it", contents.broken.front().path.string(),
                       contents.broken.front().reason);
    }
    for (const auto& file : contents.files) files.push_back(file.path);
    for (const auto& other : contents.left_out) {
      if (left_out) left_out(other.reason, other.path.string());
    }
  }
  return files;
}

}  // namespace kiln
