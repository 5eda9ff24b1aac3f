#pragma once

#include "core/types.h"
#include "data/text/token_stream.h"

namespace kiln {

/// A batch of text as data/text/text_source.h describes it, not filled.
Batch allocate_text(std::int64_t num_samples, std::int64_t length, bool has_pairs);

/// Fills one row of such a batch token by token. Tokens beyond the row's length are an error of
/// ours.
class TextRow {
 public:
  TextRow(Batch& batch, std::int64_t row);
  void append(std::int64_t token, TokenKind kind);
  /// What follows belongs to another document: positions begin at 0 again.
  void next_document();
  /// What follows is the second part of a pair.
  void next_segment() { segment_value_ = 1; }
  void set_pair_label(std::int64_t label);
  /// Fills the rest.
  void pad(std::int64_t pad_token);

 private:
  std::int64_t* tokens_;
  std::uint8_t* kind_;
  std::int64_t* document_;
  std::int64_t* position_;
  std::int64_t* segment_ = nullptr;
  std::int64_t* pair_label_ = nullptr;
  std::int64_t length_ = 0, at_ = 0;
  std::int64_t document_value_ = 0, position_value_ = 0, segment_value_ = 0;
};

}  // namespace kiln
