#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/work.h"
#include "data/files.h"

namespace kiln {

/// Lines of a part of a file, in constant memory.
///
/// A line belongs to the part its first byte lies in: parts that cover a file without overlap yield
/// every line exactly once, wherever the cuts are. A line of more than `max_bytes` comes in pieces
/// that end at a blank where there is one.
class LineReader {
 public:
  LineReader(const std::filesystem::path& path, Range part, std::size_t max_bytes = 1 << 20);

  struct Line {
    std::string_view text;  // without line end ("\n" or "\r\n"); valid until the next call
    std::int64_t begin;     // byte offset in the file
    bool is_last_piece;     // the line ends here
  };
  /// False behind the part's last line. `is_beyond_allowed`: goes on with the lines behind the
  /// part, to finish something that began in it.
  bool next(Line& line, bool is_beyond_allowed = false);

 private:
  void fill();

  File file_;
  std::int64_t size_bytes_;
  Range part_;
  std::size_t max_bytes_;
  std::string buffer_;
  std::size_t at_ = 0;             // in buffer_
  std::int64_t buffer_begin_ = 0;  // offset of buffer_[0] in the file
  bool is_at_line_start_ = true;
};

}  // namespace kiln
