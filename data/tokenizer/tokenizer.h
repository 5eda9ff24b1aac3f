#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/vocabulary.h"
#include "data/tokenizer/word_splitter.h"

namespace kiln {

/// BERT's tokenizer: special tokens written out in the text, then words, then WordPiece.
///
/// Thread safety: const members may be called from several threads. Encoding goes through an
/// TokenEncoder of which each thread has its own.
class Tokenizer {
 public:
  Tokenizer(Vocabulary vocabulary, NormalizerOptions options);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const WordSplitter& words() const { return words_; }
  /// Hex xxh3-128 over pieces and options: equal if and only if all texts get the same ids.
  const std::string& hash() const { return hash_; }

  /// Text of ids: pieces joined by blanks, continuations without.
  std::string decode(std::span<const std::int32_t> ids) const;

 private:
  Vocabulary vocabulary_;
  WordSplitter words_;
  std::string hash_;
};

/// Encodes texts with a cache of the words seen last. One per thread.
class TokenEncoder {
 public:
  /// `tokenizer` must outlive this.
  explicit TokenEncoder(const Tokenizer& tokenizer);

  /// Appends the ids of `text`, without [CLS] and [SEP]. Invalid UTF-8 is dropped and counted.
  void encode(std::string_view text, std::vector<std::int32_t>& ids);
  std::vector<std::int32_t> encode(std::string_view text);

  /// Maximal invalid UTF-8 sequences dropped so far.
  std::int64_t num_invalid() const { return num_invalid_; }

 private:
  /// Words of at most 16 bytes that have at most 4 pieces, direct-mapped.
  struct Slot {
    std::array<std::uint64_t, 2> word{};  // zero-padded bytes
    std::array<std::int32_t, 4> ids{};
    std::int32_t num_ids = 0;
  };
  static constexpr int kSlotBits = 14;
  void encode_segment(std::string_view segment, std::vector<std::int32_t>& ids);
  void encode_word(const WordSplitter::Word& word, std::vector<std::int32_t>& ids);

  const Tokenizer& tokenizer_;
  std::vector<Slot> cache_;
  std::int64_t num_invalid_ = 0;
};

/// A sentence or a pair as BERT reads it: [CLS] a [SEP] (b [SEP]).
struct ModelInput {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> segments;  // 0 up to the first [SEP], then 1
  std::vector<std::int32_t> mask;      // 1: token, 0: padding
};
/// If `max_length` > 0: the longer of the two is cut first until both fit, and the result is padded
/// to max_length with [PAD] and segment 0. `b` may be empty: a single sentence.
ModelInput make_input(const Vocabulary& vocabulary, std::span<const std::int32_t> a,
                      std::span<const std::int32_t> b, std::int64_t max_length);

}  // namespace kiln
