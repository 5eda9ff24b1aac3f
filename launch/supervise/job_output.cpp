#include "launch/supervise/job_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <utility>

namespace kiln {

namespace {

constexpr std::size_t kLongestParagraph = 8192;

bool may_be_frame(std::string_view line) {
  return std::ranges::all_of(line, [](char c) { return c == '-'; });
}

bool is_frame(std::string_view line) { return line.size() >= 40 && may_be_frame(line); }

bool is_about_a_rank(const std::string& paragraph) {
  for (const char* words : {"MPI_ABORT was invoked", "non-zero exit code", "non-zero status",
                            "noticed that process rank", "terminated normally, but"}) {
    if (paragraph.find(words) != std::string::npos) return true;
  }
  return false;
}

std::string lost_rank_in(const std::string& paragraph) {
  static const std::regex pattern(
      R"(process rank (\d+) with PID \d+ on node (\S+)\s+exited on\s+signal (\d+)(?: \(([^)]*)\))?)");
  std::smatch found;
  if (!std::regex_search(paragraph, found, pattern)) return "";
  const std::string name = found[4].matched ? fmt::format(" ({})", found[4].str()) : "";
  return fmt::format("rank {} on {} was ended by signal {}{}", found[1].str(), found[2].str(),
                     found[3].str(), name);
}

}  // namespace

std::string JobOutput::take(std::string_view bytes) {
  std::string shown;
  for (const char c : bytes) {
    if (c == '\n') {
      end_line(shown);
      continue;
    }
    line_ += c;
    if (!paragraph_.empty() || (is_held_ && may_be_frame(line_))) continue;
    shown += is_held_ ? line_ : std::string(1, c);
    is_held_ = false;
  }
  return shown;
}

void JobOutput::end_line(std::string& shown) {
  static const std::string mark = "kiln: error: ";
  const std::size_t at = line_.find(mark);
  if (at != std::string::npos) error_ = line_.substr(at + mark.size());
  if (is_frame(line_)) {
    const bool is_last = !paragraph_.empty();
    paragraph_ += line_ + '\n';
    if (is_last) shown += end_paragraph();
  } else if (!paragraph_.empty()) {
    paragraph_ += line_ + '\n';
    if (paragraph_.size() > kLongestParagraph) shown += end_paragraph();
  } else {
    shown += (is_held_ ? line_ : "") + '\n';
  }
  line_.clear();
  is_held_ = true;
}

std::string JobOutput::end_paragraph() {
  const std::string text = std::exchange(paragraph_, {});
  if (!is_about_a_rank(text)) return text;
  const std::string lost = lost_rank_in(text);
  if (!lost.empty()) lost_rank_ = lost;
  return "";
}

std::string JobOutput::finish() {
  std::string shown;
  if (!line_.empty()) {
    const bool has_shown = !is_held_ && paragraph_.empty();
    end_line(shown);
    if (has_shown) return shown;
  }
  return shown + end_paragraph();
}

}  // namespace kiln
