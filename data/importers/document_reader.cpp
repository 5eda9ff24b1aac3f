#include "data/importers/document_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/base/error.h"
#include "data/text/line_reader.h"
#include "data/tokenizer/utf8.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

// A JSON object is parsed as a whole: several times its size in memory.
constexpr std::size_t kMaxObject = std::size_t{32} << 20;
constexpr std::size_t kPiece = std::size_t{1} << 20;

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\f\v") == line.npos; }

bool is_separator(const LineReader::Line& line) {
  return line.is_first_piece && line.is_last_piece && is_blank(line.text);
}

/// Whether a blank line begins within `bytes`.
bool has_separator(const fs::path& path, Range bytes) {
  LineReader lines(path, bytes);
  LineReader::Line line;
  while (lines.next(line) && line.begin < bytes.end) {
    if (is_separator(line)) return true;
  }
  return false;
}

/// Whether the end of a part at `at` cuts the document there: no blank line in the whole_bytes
/// before it. read_text() finds the same while it reads towards the cut; this function finds it
/// backwards from the cut.
bool is_cut(const fs::path& path, std::int64_t at, std::int64_t whole_bytes) {
  constexpr std::int64_t kNear = 1 << 16;  // where there mostly is one
  if (at < whole_bytes) return false;
  return !has_separator(path, {at - std::min(kNear, whole_bytes), at}) &&
         !has_separator(path, {at - whole_bytes, at});
}

class JsonLines {
 public:
  JsonLines(const FilePart& part, const std::string& key, DocumentWriter& writer)
      : part_(part), key_(key), writer_(writer) {}

  void run() {
    LineReader lines(part_.path, part_.bytes);
    LineReader::Line line;
    std::string whole;
    std::int64_t begin = 0;
    while (lines.next(line)) {
      if (whole.empty()) begin = line.begin;
      whole += line.text;
      check_size(whole.size(), begin);
      if (!line.is_last_piece) continue;
      if (!is_blank(whole)) add(whole, begin);
      whole.clear();
    }
  }

 private:
  void check_size(std::size_t size, std::int64_t begin) const {
    if (size <= kMaxObject) return;
    throw data_error(
        "'{}': the line at byte {} has no end within {} MiB; make several objects of it, or import "
        "the text as plain text (kiln data import text), which cuts long documents",
        part_.path.string(), begin, kMaxObject >> 20);
  }

  void add(std::string& line, std::int64_t begin) {
    writer_.add_invalid(repair_utf8(line));
    std::string text;
    try {
      const auto json = nlohmann::json::parse(line);
      text = json.at(key_).get<std::string>();
    } catch (const nlohmann::json::exception& error) {
      throw data_error("'{}': the line at byte {} is not a JSON object with a string '{}': {}",
                       part_.path.string(), begin, key_, error.what());
    }
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      writer_.add_line(std::string_view(text).substr(at, end - at));
      writer_.end_paragraph();
      at = end + 1;
    }
    writer_.end_document();
  }

  const FilePart& part_;
  const std::string& key_;
  DocumentWriter& writer_;
};

}  // namespace

DocumentBoundary boundary_from_name(const std::string& name) {
  if (name == "file") return DocumentBoundary::kFile;
  if (name == "blank_line") return DocumentBoundary::kBlankLine;
  if (name == "line") return DocumentBoundary::kLine;
  throw usage_error("documents = '{}': choose file, blank_line or line", name);
}

void read_text(const FilePart& part, DocumentBoundary boundary, std::int64_t whole_bytes,
               DocumentWriter& writer) {
  LineReader lines(part.path, part.bytes, kPiece, whole_bytes);
  const bool by_blank = boundary == DocumentBoundary::kBlankLine;
  const bool by_line = boundary == DocumentBoundary::kLine;
  const std::int64_t begin = part.bytes.begin;
  bool is_continued = begin > 0;
  if (by_blank && !lines.begins_at_cut()) {
    is_continued = is_continued && is_cut(part.path, begin, whole_bytes);
  }
  // A document that began in the part before and is not cut is finished there.
  bool is_mine = !by_blank || begin == 0 || is_continued;
  std::int64_t separator = is_continued ? -whole_bytes : -1;  // where the last one began
  std::int64_t next_end = part.bytes.end;
  bool is_first = true;
  LineReader::Line line;
  while (lines.next(line, by_blank && is_mine)) {
    if (is_first) writer.add_cut(by_line ? !line.is_first_piece : is_continued);
    is_first = false;
    bool is_end = false;
    const bool is_new_line = by_blank && line.is_first_piece;
    for (; is_new_line && line.begin >= next_end && !is_end; next_end += part.bytes.size()) {
      is_end = separator < next_end - whole_bytes;
    }
    if (is_end) break;
    if (is_separator(line)) {
      separator = line.begin;
      writer.end_paragraph();
      if (by_blank && is_mine) writer.end_document();
      if (by_blank && line.begin >= part.bytes.end) break;
      is_mine = true;
      continue;
    }
    if (!is_mine) continue;
    writer.add_line(line.text);
    if (by_line && line.is_last_piece) writer.end_document();
  }
  if (!by_line) writer.end_document();
}

void read_jsonl(const FilePart& part, const std::string& key, DocumentWriter& writer) {
  JsonLines(part, key, writer).run();
}

}  // namespace kiln
