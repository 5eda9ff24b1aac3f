#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/work.h"
#include "data/store/files.h"

namespace kiln {

/// Lines of a part of a file, in constant memory.
///
/// A line belongs to the part its first byte lies in: parts that cover a file without overlap yield
/// every line exactly once, wherever the cuts are. A line of more than `max_bytes` comes in pieces
/// that end at a blank where there is one.
///
/// `whole_bytes` > 0: the end of a part cuts a line that began that long before it or longer, at
/// the next blank; the next part goes on there. The parts of a file must then be of one size, but
/// for the last. Both parts compute the cut from the file alone, so no part reads much beyond its
/// end.
class LineReader {
 public:
  /// A text as open_text() gives it: what is compressed is one part.
  LineReader(const std::filesystem::path& path, Range part, std::size_t max_bytes = 1 << 20,
             std::int64_t whole_bytes = 0);
  /// `file` must outlive this.
  LineReader(const File& file, Range part, std::size_t max_bytes = 1 << 20,
             std::int64_t whole_bytes = 0);
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  struct Line {
    std::string_view text;  // without line end ("\n" or "\r\n"); valid until the next call
    std::int64_t begin;     // byte offset in the file
    bool is_first_piece;    // the line begins here
    bool is_last_piece;     // the line ends here, or is cut
  };
  /// False behind the part's last line. `is_beyond_allowed`: goes on with the lines behind the
  /// part, to finish something that began in it.
  bool next(Line& line, bool is_beyond_allowed = false);
  /// The part before ends at a cut, and this one begins there.
  bool begins_at_cut() const { return begins_at_cut_; }

 private:
  LineReader(std::optional<File> owned, const File* file, Range part, std::size_t max_bytes,
             std::int64_t whole_bytes);
  void fill();
  void find_first_line();
  bool has_line_end(Range bytes) const;
  std::int64_t cut_place(std::int64_t at) const;
  /// The cut within [.., stop) of the current line; `stop` + 1 if there is none.
  std::int64_t next_cut_before(std::int64_t stop);

  std::optional<File> owned_;
  const File& file_;
  std::int64_t size_bytes_;
  Range part_;
  std::size_t max_bytes_;
  std::string buffer_;
  std::size_t at_ = 0;             // in buffer_
  std::int64_t buffer_begin_ = 0;  // offset of buffer_[0] in the file
  bool is_at_line_start_ = true;
  std::int64_t whole_bytes_;
  std::int64_t line_begin_ = 0;
  std::int64_t next_end_;  // of this part, then of those behind it
  bool begins_at_cut_ = false;
  bool is_exhausted_ = false;
};

}  // namespace kiln
