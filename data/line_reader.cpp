#include "data/line_reader.h"

#include <algorithm>

namespace kiln {

LineReader::LineReader(const std::filesystem::path& path, Range part, std::size_t max_bytes)
    : file_(File::open_read(path)),
      size_bytes_(file_.size_bytes()),
      part_{part.begin, std::min(part.end, size_bytes_)},
      max_bytes_(max_bytes) {
  if (part_.begin == 0) return;
  // The part's first line starts behind the first line end at or behind begin - 1.
  buffer_begin_ = part_.begin - 1;
  while (true) {
    fill();
    const std::size_t end = buffer_.find('\n', at_);
    if (end != buffer_.npos) {
      at_ = end + 1;
      return;
    }
    at_ = buffer_.size();
    if (buffer_begin_ + static_cast<std::int64_t>(buffer_.size()) >= size_bytes_) return;
  }
}

void LineReader::fill() {
  buffer_.erase(0, at_);
  buffer_begin_ += static_cast<std::int64_t>(at_);
  at_ = 0;
  const std::size_t kept = buffer_.size();
  const std::int64_t from = buffer_begin_ + static_cast<std::int64_t>(kept);
  const std::int64_t count =
      std::min<std::int64_t>(static_cast<std::int64_t>(max_bytes_ + 1), size_bytes_ - from);
  if (count <= 0) return;
  buffer_.resize(kept + static_cast<std::size_t>(count));
  file_.read_at(buffer_.data() + kept, count, from);
}

bool LineReader::next(Line& line, bool is_beyond_allowed) {
  const std::int64_t begin = buffer_begin_ + static_cast<std::int64_t>(at_);
  if (begin >= size_bytes_) return false;
  if (is_at_line_start_ && begin >= part_.end && !is_beyond_allowed) return false;
  std::size_t end = buffer_.find('\n', at_);
  if (end == buffer_.npos) {
    if (buffer_.size() - at_ <= max_bytes_) fill();
    end = buffer_.find('\n', at_);
  }
  const bool is_end_of_file =
      buffer_begin_ + static_cast<std::int64_t>(buffer_.size()) >= size_bytes_;
  std::size_t next_at = 0;
  if (end != buffer_.npos && end - at_ <= max_bytes_) {
    next_at = end + 1;
    line.is_last_piece = true;
  } else if (end == buffer_.npos && is_end_of_file && buffer_.size() - at_ <= max_bytes_) {
    next_at = end = buffer_.size();
    line.is_last_piece = true;
  } else {
    end = at_ + max_bytes_;
    const std::size_t blank = buffer_.find_last_of(" \t", end - 1);
    if (blank != buffer_.npos && blank >= at_) end = blank + 1;
    // Without a blank the cut must at least not fall within a UTF-8 sequence.
    for (int i = 0; i < 3 && end > at_ + 4 && (buffer_[end] & '\xC0') == '\x80'; ++i) --end;
    next_at = end;
    line.is_last_piece = false;
  }
  line.text = std::string_view(buffer_).substr(at_, end - at_);
  if (line.is_last_piece && line.text.ends_with('\r')) line.text.remove_suffix(1);
  line.begin = begin;
  is_at_line_start_ = line.is_last_piece;
  at_ = next_at;
  return true;
}

}  // namespace kiln
