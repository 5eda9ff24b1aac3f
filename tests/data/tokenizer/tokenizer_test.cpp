#include "data/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "data/tokenizer/wordpiece_trainer.h"

namespace kiln {
namespace {

using Ids = std::vector<std::int32_t>;

Vocabulary small_vocabulary(std::vector<std::string> more) {
  std::vector<std::string> pieces = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  pieces.insert(pieces.end(), more.begin(), more.end());
  return Vocabulary(std::move(pieces), "test");
}

std::vector<std::string> words(const std::string& text, NormalizerOptions options = {}) {
  std::vector<std::string> out;
  WordSplitter(options).split(text, [&](const WordSplitter::Word& word) {
    out.push_back(word.is_too_long ? "<too long>" : std::string(word.data, word.size));
  });
  return out;
}

TEST(WordSplitter, StripsAccentsAndLowersCase) {
  EXPECT_EQ(words("Ünïcodé ÅNGSTRÖM"), (std::vector<std::string>{"unicode", "angstrom"}));
  EXPECT_EQ(words("Ünïcodé", NormalizerOptions::cased()), (std::vector<std::string>{"Ünïcodé"}));
}

TEST(WordSplitter, LowersFinalSigmaWithoutContext) {
  EXPECT_EQ(words("ΣΑΣ"), (std::vector<std::string>{"σασ"}));
}

TEST(WordSplitter, IsolatesPunctuationSymbolsAndIdeographs) {
  EXPECT_EQ(words("a-b$c中文d"),
            (std::vector<std::string>{"a", "-", "b", "$", "c", "中", "文", "d"}));
  EXPECT_EQ(words("カタ 한국", NormalizerOptions::cased()),
            (std::vector<std::string>{"カタ", "한국"}));
}

TEST(WordSplitter, DropsControlsAndReplacementCharacters) {
  EXPECT_EQ(words(std::string("a\0b\x01"
                              "c\u200d"
                              "d\ufffd"
                              "e\u00ad"
                              "f\u0085g",
                              20)),
            (std::vector<std::string>{"abcdefg"}));
}

TEST(WordSplitter, CountsInvalidSequencesOncePerMaximalPart) {
  const WordSplitter splitter({});
  std::vector<std::string> out;
  // A truncated three-byte sequence is one part, a lone continuation and FF one each.
  const std::int64_t invalid = splitter.split(
      "a\xE4\xB8"
      "b\x80 \xFF"
      "c",
      [&](const auto& word) { out.emplace_back(word.data, word.size); });
  EXPECT_EQ(invalid, 3);
  EXPECT_EQ(out, (std::vector<std::string>{"ab", "c"}));
}

// Combining marks that are not stripped come into canonical order, whatever was between them.
TEST(WordSplitter, OrdersRemainingMarksCanonically) {
  // U+302E has class 224, U+1B44 class 9; the zero-width joiner is dropped first.
  EXPECT_EQ(words("a\u302e\u200d\u1b44"), words("a\u1b44\u302e"));
  EXPECT_EQ(words("a\u302e\u1b44"), (std::vector<std::string>{"a\u1b44\u302e"}));
}

TEST(WordSplitter, FlagsWordsOfMoreThanAHundredCharacters) {
  EXPECT_EQ(words(std::string(100, 'x')), (std::vector<std::string>{std::string(100, 'x')}));
  EXPECT_EQ(words(std::string(101, 'x') + " y"), (std::vector<std::string>{"<too long>", "y"}));
}

TEST(WordSplitter, FillsItsTableFromSeveralThreads) {
  const WordSplitter splitter({});
  const std::string text = "Ж é 中 ß Ω ﬁ \U0001F600 \U00020000";
  std::vector<std::vector<std::string>> results(4);
  {
    std::vector<std::jthread> threads;
    for (auto& result : results) {
      threads.emplace_back([&] {
        splitter.split(text, [&](const auto& word) { result.emplace_back(word.data, word.size); });
      });
    }
  }
  for (const auto& result : results) EXPECT_EQ(result, words(text));
}

TEST(Vocabulary, MatchesLongestPiecesFirst) {
  const Vocabulary vocabulary = small_vocabulary({"un", "##aff", "##able", "##a", "unaf", "u"});
  Ids ids;
  vocabulary.match("unaffable", ids);
  EXPECT_EQ(ids, (Ids{1}));  // "unaf" is taken, and "##fable" has no piece
  const Vocabulary without = small_vocabulary({"un", "##aff", "##able", "##a", "u"});
  ids.clear();
  without.match("unaffable", ids);
  EXPECT_EQ(ids, (Ids{5, 6, 7}));
}

TEST(Vocabulary, NamesMissingSpecialTokens) {
  try {
    Vocabulary({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"}, "v.txt");
    FAIL() << "accepted a vocabulary without [MASK]";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_NE(std::string(error.what()).find("lacks [MASK]"), std::string::npos) << error.what();
  }
}

TEST(Vocabulary, RefusesDuplicatesAndMissingFiles) {
  EXPECT_THROW(small_vocabulary({"a", "a"}), Error);
  EXPECT_THROW(Vocabulary::load("/nonexistent/vocab.txt"), Error);
}

TEST(Vocabulary, SurvivesTheRoundTripThroughAFile) {
  const auto path = std::filesystem::temp_directory_path() / "kiln_vocabulary_test.txt";
  const Vocabulary vocabulary = small_vocabulary({"中", "##é", "a b"});
  vocabulary.save(path);
  EXPECT_EQ(Vocabulary::load(path).pieces(), vocabulary.pieces());
  std::filesystem::remove(path);
}

TEST(TokenEncoder, CutsOutSpecialTokensExactly) {
  const Tokenizer tokenizer(small_vocabulary({"a", "[", "]", "mask", "b"}), {});
  TokenEncoder encoder(tokenizer);
  EXPECT_EQ(encoder.encode("a[MASK]b [mask] [[SEP]]"), (Ids{5, 4, 9, 6, 8, 7, 6, 3, 7}));
}

TEST(TokenEncoder, GivesTheSameIdsFromItsCache) {
  const Tokenizer tokenizer(small_vocabulary({"ab", "##c", "##d", "##e", "##f"}), {});
  TokenEncoder encoder(tokenizer);
  const Ids first = encoder.encode("abcdef abc ab x");
  EXPECT_EQ(first, (Ids{5, 6, 7, 8, 9, 5, 6, 5, 1}));
  EXPECT_EQ(encoder.encode("abcdef abc ab x"), first);
}

TEST(Tokenizer, HashDependsOnPiecesAndOptions) {
  const Tokenizer one(small_vocabulary({"a"}), {});
  EXPECT_EQ(one.hash(), Tokenizer(small_vocabulary({"a"}), {}).hash());
  EXPECT_NE(one.hash(), Tokenizer(small_vocabulary({"b"}), {}).hash());
  EXPECT_NE(one.hash(), Tokenizer(small_vocabulary({"a"}), NormalizerOptions::cased()).hash());
}

TEST(Tokenizer, DecodesContinuationsWithoutBlanks) {
  const Tokenizer tokenizer(small_vocabulary({"un", "##aff", "##able", "!"}), {});
  EXPECT_EQ(tokenizer.decode(Ids{5, 6, 7, 8}), "unaffable !");
}

TEST(ModelInput, CutsTheLongerSentenceFirstAndPads) {
  const Vocabulary vocabulary = small_vocabulary({});
  const Ids a = {10, 11, 12, 13, 14}, b = {20, 21};
  const ModelInput cut = make_input(vocabulary, a, b, 8);
  EXPECT_EQ(cut.ids, (Ids{2, 10, 11, 12, 3, 20, 21, 3}));
  EXPECT_EQ(cut.segments, (Ids{0, 0, 0, 0, 0, 1, 1, 1}));
  const ModelInput padded = make_input(vocabulary, b, {}, 6);
  EXPECT_EQ(padded.ids, (Ids{2, 20, 21, 3, 0, 0}));
  EXPECT_EQ(padded.mask, (Ids{1, 1, 1, 1, 0, 0}));
}

ChunkSource text_source(std::vector<std::string> chunks) {
  return [chunks = std::move(chunks), next = std::size_t{0}](std::string& chunk) mutable {
    if (next == chunks.size()) return false;
    chunk = chunks[next++];
    return true;
  };
}

TEST(WordPieceTrainer, JoinsTheMostFrequentPairs) {
  WordPieceTrainerOptions options;
  options.vocab_size = 5 + 2 * 3 + 2;
  const auto pieces = train_wordpiece(text_source({"abc abc abc ab ab c"}), options);
  EXPECT_EQ(pieces, (std::vector<std::string>{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a",
                                              "b", "c", "##a", "##b", "##c", "ab", "abc"}));
}

TEST(WordPieceTrainer, DoesNotDependOnThreads) {
  std::vector<std::string> chunks;
  for (int i = 0; i < 40; ++i) {
    std::string chunk;
    for (int j = 0; j < 50; ++j)
      chunk += "w" + std::to_string((i * 31 + j * j) % 97) + "x" + std::to_string(j % 7) + " ";
    chunks.push_back(chunk);
  }
  WordPieceTrainerOptions options;
  options.vocab_size = 120;
  options.max_words = 100;  // so that rare words are forgotten along the way
  const auto alone = train_wordpiece(text_source(chunks), options);
  options.threads = 4;
  EXPECT_EQ(train_wordpiece(text_source(chunks), options), alone);
  EXPECT_EQ(alone.size(), 120u);
}

TEST(WordPieceTrainer, CountsEveryWordOnceWhateverTheChunks) {
  const auto path = std::filesystem::temp_directory_path() / "kiln_trainer_test.txt";
  std::ofstream(path) << "one two three\nfour five six seven\neight nine ten one two three four";
  for (const std::size_t chunk_bytes : {7u, 16u, 1000u}) {
    const auto counts = count_words(file_chunks({path}, chunk_bytes), {});
    std::int64_t total = 0;
    for (const auto& [word, count] : counts) total += count;
    EXPECT_EQ(total, 14) << chunk_bytes;
    EXPECT_EQ(counts.size(), 10u) << chunk_bytes;
  }
  std::filesystem::remove(path);
}

TEST(WordPieceTrainer, RefusesWhatCannotWork) {
  WordPieceTrainerOptions options;
  EXPECT_THROW(train_wordpiece(text_source({"  \n "}), options), Error);
  options.vocab_size = 6;
  EXPECT_THROW(train_wordpiece(text_source({"abc"}), options), Error);
}

}  // namespace
}  // namespace kiln
