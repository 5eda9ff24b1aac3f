#pragma once

#include <string>
#include <string_view>

namespace kiln {

/// Standard error of a job as its supervisor passes it on: all but the paragraphs, framed in
/// dashes, in which mpirun says at length that a rank ended. Their substance is kept.
///
/// Text goes out as it comes, a progress bar's half lines too, except where it may begin such a
/// paragraph.
class JobOutput {
 public:
  /// What to show of `bytes`.
  std::string take(std::string_view bytes);
  /// At the end: what was held back.
  std::string finish();

  /// Message of the last line "kiln: error: ..."; empty: none.
  const std::string& error() const { return error_; }
  /// "rank 1 on node7 was ended by signal 9 (Killed)", from mpirun's words; empty: it said nothing.
  const std::string& lost_rank() const { return lost_rank_; }

 private:
  void end_line(std::string& shown);
  std::string end_paragraph();

  std::string line_;       // the current one
  bool is_held_ = true;    // the current line has not been shown
  std::string paragraph_;  // from its first line of dashes on; empty: outside of one
  std::string error_;
  std::string lost_rank_;
};

}  // namespace kiln
