#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer/word_splitter.h"

namespace kiln {

struct WordPieceTrainerOptions {
  std::int64_t vocab_size = 30'522;
  std::int64_t min_frequency = 2;  // of a pair of pieces, to be joined
  std::int64_t max_alphabet =
      1000;  // most frequent characters kept; words with others are left out
  std::int64_t max_words =
      4'000'000;  // distinct words in memory; beyond it the rarest are forgotten
  NormalizerOptions normalizer;
  int threads = 1;
};

/// Fills `chunk` with the next part of a text, cut between words; false when there is none. Called
/// by one thread at a time.
using ChunkSource = std::function<bool(std::string& chunk)>;

/// Files read one after the other in chunks of about `chunk_bytes`. A chunk ends at a line end, or
/// where there is none, at a blank, or if need be anywhere. Throws Error(kData) for an unreadable
/// file or one that is no text (data/tokenizer/text_file.h).
ChunkSource file_chunks(std::vector<std::filesystem::path> files,
                        std::size_t chunk_bytes = 4 << 20);

/// Words of a text with their counts, sorted by word. Memory: O(max_words + threads * chunk).
std::vector<std::pair<std::string, std::int64_t>> count_words(
    const ChunkSource& source, const WordPieceTrainerOptions& options);

/// Pieces of a WordPiece vocabulary: the five special tokens, each character alone and as "##c",
/// then pieces made by joining, over and over, the most frequent pair of neighbours inside words
/// (the lower pair of ids where two are equally frequent).
///
/// The result depends on the text, its chunks and the options, not on the number of threads.
/// Throws Error(kUsage) if vocab_size cannot hold specials and characters, Error(kData) if the text
/// has no words.
std::vector<std::string> train_wordpiece(const ChunkSource& source,
                                         const WordPieceTrainerOptions& options);

}  // namespace kiln
