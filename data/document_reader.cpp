#include "data/document_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "data/line_reader.h"
#include "data/utf8.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLine = std::size_t{1} << 30;

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\f\v") == line.npos; }

void check_line_size(std::size_t size, const fs::path& path, std::int64_t begin) {
  if (size <= kMaxLine) return;
  throw data_error(
      "'{}': the line at byte {} has no end within 1 GiB; this does not look like text "
      "in lines",
      path.string(), begin);
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
      check_line_size(whole.size(), part_.path, begin);
      if (!line.is_last_piece) continue;
      if (!is_blank(whole)) add(whole, begin);
      whole.clear();
    }
  }

 private:
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

void read_text(const FilePart& part, DocumentBoundary boundary, DocumentWriter& writer) {
  LineReader lines(part.path, part.bytes);
  const bool by_blank = boundary == DocumentBoundary::kBlankLine;
  const bool by_line = boundary == DocumentBoundary::kLine;
  // A document that began in the part before is finished there.
  bool is_mine = !by_blank || part.bytes.begin == 0;
  std::size_t line_size = 0;
  LineReader::Line line;
  while (lines.next(line, by_blank && is_mine)) {
    line_size += line.text.size();
    check_line_size(line_size, part.path, line.begin);
    const bool is_separator =
        line.is_last_piece && line_size == line.text.size() && is_blank(line.text);
    if (line.is_last_piece) line_size = 0;
    if (is_separator) {
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
