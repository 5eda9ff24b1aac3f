#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/store/shard_writer.h"
#include "data/tokenizer/tokenizer.h"

namespace kiln {

/// Counts of an import; sums over shards.
struct TextCounts {
  std::int64_t documents = 0;
  std::int64_t tokens = 0;  // [CLS] and [SEP] included
  std::int64_t sentences = 0;
  std::int64_t unknown_tokens = 0;
  std::int64_t invalid_sequences = 0;
  std::int64_t empty_documents = 0;
  std::int64_t longest_document = 0;  // tokens; the maximum over shards
  std::int64_t document_cuts = 0;     // documents that go on one cut before
  void add(const TextCounts& other);
};

/// Turns running text into token rows of a shard: text is gathered into paragraphs, cut into
/// sentences, encoded. Memory: the document's tokens and one paragraph (at most 1 MiB of text;
/// longer ones are encoded in parts).
class DocumentWriter {
 public:
  /// `has_lines`: each line given is a sentence; else sentences are found by rule.
  DocumentWriter(const Tokenizer& tokenizer, bool has_lines, ShardWriter& shard);

  void add_line(std::string_view line);
  void end_paragraph();
  void end_document();
  /// Invalid UTF-8 that was repaired before the text came here.
  void add_invalid(std::int64_t count) { counts_.invalid_sequences += count; }
  /// What comes next goes on a document that was cut, if so.
  void add_cut(bool is_cut) { counts_.document_cuts += is_cut ? 1 : 0; }
  const TextCounts& counts() const { return counts_; }

 private:
  static constexpr std::size_t kMaxParagraph = 1 << 20;
  void add_sentence(std::string_view sentence);
  /// Encodes whole sentences of the paragraph; the last one too if `is_end`.
  void flush(bool is_end);
  template <typename Id>
  void write_tokens();

  const Tokenizer& tokenizer_;
  bool has_lines_;
  ShardWriter& shard_;
  TokenEncoder encoder_;
  std::string paragraph_;
  std::vector<std::int32_t> ids_;
  std::vector<std::uint32_t> sentence_ends_;
  std::int64_t counted_invalid_ = 0;
  TextCounts counts_;
};

/// Rows of text shards for a vocabulary of this size.
Fields text_fields(std::int64_t vocab_size);

}  // namespace kiln
