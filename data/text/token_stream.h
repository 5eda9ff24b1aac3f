#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/work.h"
#include "data/store/dataset.h"
#include "data/tokenizer/tokenizer.h"

namespace kiln {

/// What masking and whole-word choices need to know of a token.
enum class TokenKind : std::uint8_t {
  kSpecial = 0,  // [CLS], [SEP], [PAD], [MASK]: never masked
  kWordStart = 1,
  kContinuation = 2,  // "##..."
};

/// The documents of a text dataset as one stream of tokens per shard.
///
/// Document starts are held in memory, 8 bytes a document; tokens are read when asked for.
///
/// Thread safety: const members may be called from several threads.
class TokenStream {
 public:
  /// Throws Error(kData) if this is no text dataset, or one whose vocabulary is missing or altered.
  explicit TokenStream(std::shared_ptr<const Dataset> dataset);

  const Dataset& dataset() const { return *dataset_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  std::int64_t num_shards() const { return std::ssize(offsets_); }
  std::int64_t num_tokens(std::int64_t shard) const {
    return static_cast<std::int64_t>(offsets_[static_cast<std::size_t>(shard)].back());
  }
  /// First token of each document of a shard, and the end of the last.
  std::span<const std::uint64_t> documents(std::int64_t shard) const {
    return offsets_[static_cast<std::size_t>(shard)];
  }
  /// Tokens of a shard into out[0 .. size). Throws Error(kData) for an id beyond the vocabulary.
  void read(std::int64_t shard, Range tokens, std::int64_t* out) const;
  TokenKind kind(std::int64_t id) const { return kinds_[static_cast<std::size_t>(id)]; }

 private:
  std::shared_ptr<const Dataset> dataset_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool is_wide_;  // uint32, else uint16
  std::vector<std::vector<std::uint64_t>> offsets_;
  std::vector<TokenKind> kinds_;
};

/// The tokenizer a text dataset was made with, from its folder. Throws Error(kData) if vocab.txt is
/// not the one dataset.json speaks of.
std::shared_ptr<const Tokenizer> dataset_tokenizer(const std::filesystem::path& folder,
                                                   const Manifest& manifest);

}  // namespace kiln
