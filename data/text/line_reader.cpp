#include "data/text/line_reader.h"

#include <algorithm>

#include "data/tokenizer/text_file.h"

namespace kiln {

LineReader::LineReader(const std::filesystem::path& path, Range part, std::size_t max_bytes,
                       std::int64_t whole_bytes)
    : LineReader(open_text(path), nullptr, part, max_bytes, whole_bytes) {}

LineReader::LineReader(const File& file, Range part, std::size_t max_bytes,
                       std::int64_t whole_bytes)
    : LineReader(std::nullopt, &file, part, max_bytes, whole_bytes) {}

LineReader::LineReader(std::optional<File> owned, const File* file, Range part,
                       std::size_t max_bytes, std::int64_t whole_bytes)
    : owned_(std::move(owned)),
      file_(file != nullptr ? *file : *owned_),
      size_bytes_(file_.size_bytes()),
      part_{part.begin, std::min(part.end, size_bytes_)},
      max_bytes_(max_bytes),
      whole_bytes_(whole_bytes),
      next_end_(part_.end) {
  if (part_.begin == 0) return;
  begins_at_cut_ = whole_bytes_ > 0 && part_.begin >= whole_bytes_ &&
                   !has_line_end({part_.begin - whole_bytes_, part_.begin});
  if (!begins_at_cut_) {
    find_first_line();
    return;
  }
  buffer_begin_ = cut_place(part_.begin);
  is_at_line_start_ = has_line_end({buffer_begin_ - 1, buffer_begin_});
  line_begin_ = -whole_bytes_;  // long ago
  // If the whole part has no blank, the rest of the line belongs to the next part.
  is_exhausted_ = buffer_begin_ >= part_.end;
}

void LineReader::find_first_line() {
  // The part's first line starts behind the first line end at or behind begin - 1.
  buffer_begin_ = part_.begin - 1;
  while (true) {
    fill();
    const std::size_t end = buffer_.find('\n', at_);
    at_ = end == buffer_.npos ? buffer_.size() : end + 1;
    is_exhausted_ = buffer_begin_ + static_cast<std::int64_t>(at_) >= part_.end;
    if (is_exhausted_ || end != buffer_.npos) return;
  }
}

bool LineReader::has_line_end(Range bytes) const {
  constexpr std::int64_t kBlock = 1 << 16;
  std::string block;
  // It searches backwards, because the last line end is near.
  for (std::int64_t end = bytes.end; end > bytes.begin;) {
    const std::int64_t begin = std::max(bytes.begin, end - kBlock);
    block.resize(static_cast<std::size_t>(end - begin));
    file_.read_at(block.data(), end - begin, begin);
    if (block.find('\n') != block.npos) return true;
    end = begin;
  }
  return false;
}

/// Behind the first blank or line end at or behind `at` - 1; without one nearby, where no UTF-8
/// sequence is cut. Never falls when `at` grows.
std::int64_t LineReader::cut_place(std::int64_t at) const {
  constexpr std::int64_t kNear = 1 << 16;
  const std::int64_t begin = at - 1;
  std::string text(static_cast<std::size_t>(std::min(kNear, size_bytes_ - begin)), '\0');
  file_.read_at(text.data(), std::ssize(text), begin);
  std::size_t blank = text.find_first_of(" \t\n");
  if (blank == text.npos) {
    for (blank = 0; blank < 3 && blank + 1 < text.size(); ++blank) {
      if ((text[blank + 1] & '\xC0') != '\x80') break;
    }
  }
  return begin + static_cast<std::int64_t>(blank) + 1;
}

std::int64_t LineReader::next_cut_before(std::int64_t stop) {
  const std::int64_t none = stop + 1;
  if (whole_bytes_ == 0) return none;
  for (; next_end_ < std::min(stop, size_bytes_); next_end_ += part_.size()) {
    if (line_begin_ <= next_end_ - whole_bytes_) return cut_place(next_end_);
  }
  return none;
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
  if (is_exhausted_ || begin >= size_bytes_) return false;
  if (is_at_line_start_ && begin >= part_.end && !is_beyond_allowed) return false;
  if (is_at_line_start_) line_begin_ = begin;
  line.is_first_piece = is_at_line_start_;
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
    // If there is no blank, the cut must at least not fall within a UTF-8 sequence.
    for (int i = 0; i < 3 && end > at_ + 4 && (buffer_[end] & '\xC0') == '\x80'; ++i) --end;
    next_at = end;
    line.is_last_piece = false;
  }
  const auto stop = buffer_begin_ + static_cast<std::int64_t>(next_at);
  const std::int64_t cut = next_cut_before(stop);
  if (cut <= stop) {
    next_at = static_cast<std::size_t>(cut - buffer_begin_);
    end = std::min(end, next_at);
    line.is_last_piece = is_exhausted_ = true;
  }
  line.text = std::string_view(buffer_).substr(at_, end - at_);
  if (line.is_last_piece && line.text.ends_with('\r')) line.text.remove_suffix(1);
  line.begin = begin;
  is_at_line_start_ = line.is_last_piece;
  at_ = next_at;
  return true;
}

}  // namespace kiln
