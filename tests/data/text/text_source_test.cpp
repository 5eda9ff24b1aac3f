#include "data/text/text_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "data/importers/text_import.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPad = 0, kCls = 2, kSep = 3, kStop = 5;

/// Documents whose words number their sentences: token 6 + s for every word of sentence s.
class TextSourceTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream vocabulary(folder_ / "vocab.txt");
    vocabulary << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n";
    for (int i = 0; i < 300; ++i) vocabulary << "w" << i << "\n";
  }
  std::shared_ptr<const TokenStream> stream(const std::vector<std::string>& documents,
                                            std::int64_t unit_bytes = 1 << 20) {
    std::ofstream text(folder_ / "text");
    for (const std::string& document : documents) text << document << "\n";
    text.close();
    TextImportOptions options;
    options.import.inputs = {folder_ / "text"};
    options.import.out = folder_ / "dataset";
    options.vocabulary = folder_ / "vocab.txt";
    options.documents = "line";
    options.unit_bytes = unit_bytes;
    import_text(options);
    finish_text_import(options);
    return std::make_shared<const TokenStream>(
        std::make_shared<const Dataset>(folder_ / "dataset"));
  }
  static std::string document(int first, int num_sentences, int num_words) {
    std::string text;
    for (int s = 0; s < num_sentences; ++s) {
      for (int w = 0; w < num_words; ++w) text += "W" + std::to_string(first + s) + " ";
      text += ". ";
    }
    return text;
  }
  static Batch read(const BatchSource& source, const std::vector<std::int64_t>& ids,
                    std::int64_t position = 0) {
    Batch batch = source.allocate(std::ssize(ids));
    source.read(ids, position, batch, 0);
    return batch;
  }
  static std::vector<std::int64_t> row(const Batch& batch, const std::string& name,
                                       std::int64_t index = 0) {
    const std::int64_t length = batch.at(name).size(1);
    const auto* values = batch.at(name).data_ptr<std::int64_t>() + index * length;
    return {values, values + length};
  }

  TemporaryFolder folder_;
};

using Ids = std::vector<std::int64_t>;

TEST_F(TextSourceTest, PacksDocumentsWithPositionsOfTheirOwn) {
  const auto source = make_text_source(stream({"w0 w1", "w2 w3 w4"}), {.sequence_length = 9}, 0);
  // The stream is [CLS] w0 w1 [SEP] [CLS] w2 w3 | w4 [SEP], seven tokens a window.
  ASSERT_EQ(source->num_samples(), 2);
  const Batch batch = read(*source, {0, 1});
  EXPECT_EQ(row(batch, "tokens"), (Ids{kCls, 6, 7, kSep, kCls, 8, 9, kSep, kPad}));
  EXPECT_EQ(row(batch, "document"), (Ids{0, 0, 0, 0, 1, 1, 1, 1, -1}));
  EXPECT_EQ(row(batch, "position"), (Ids{0, 1, 2, 3, 0, 1, 2, 3, 0}));
  EXPECT_EQ(row(batch, "tokens", 1), (Ids{kCls, 10, kSep, 0, 0, 0, 0, 0, 0}));
}

TEST_F(TextSourceTest, WindowsHoldEveryTokenOnceOverSeveralShards) {
  std::vector<std::string> documents;
  std::multiset<std::int64_t> expected;
  for (int i = 0; i < 40; ++i) {
    documents.push_back(document(i, i % 3 + 1, i % 5 + 1));
    for (int s = 0; s < i % 3 + 1; ++s) {
      for (int w = 0; w < i % 5 + 1; ++w) expected.insert(6 + i + s);
      expected.insert(kStop);
    }
  }
  const auto tokens = stream(documents, 200);
  EXPECT_GT(tokens->num_shards(), 3);
  const auto source = make_text_source(tokens, {.sequence_length = 16}, 0);
  std::multiset<std::int64_t> found;
  for (std::int64_t id = 0; id < source->num_samples(); ++id) {
    for (const std::int64_t token : row(read(*source, {id}), "tokens")) {
      if (token >= kStop) found.insert(token);
    }
  }
  EXPECT_EQ(found, expected);
}

/// First and second part of a pair, without special tokens.
std::pair<Ids, Ids> parts(const Ids& tokens, const Ids& segments) {
  std::pair<Ids, Ids> result;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= kStop) (segments[i] == 0 ? result.first : result.second).push_back(tokens[i]);
  }
  return result;
}

TEST_F(TextSourceTest, NextSentencePairsFollowOrComeFromElsewhere) {
  const auto tokens = stream({document(0, 100, 4), document(150, 100, 4)});
  const TextOptions options{.sequence_length = 33, .pairs = "nsp"};
  const auto source = make_text_source(tokens, options, 7);
  int num_random = 0;
  constexpr int kCount = 2000;
  for (int position = 0; position < kCount; ++position) {
    const Batch batch = read(*source, {position % source->num_samples()}, position);
    const Ids ids = row(batch, "tokens");
    EXPECT_EQ(ids[0], kCls);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), kSep), 2);
    const auto [first, second] = parts(ids, row(batch, "segment"));
    ASSERT_FALSE(first.empty());
    ASSERT_FALSE(second.empty());
    const auto word = [](const Ids& part, std::size_t i) {
      return part[i] == kStop ? -1 : part[i];
    };
    const bool is_same_document = *std::max_element(first.begin(), first.end()) / 150 ==
                                  *std::max_element(second.begin(), second.end()) / 150;
    const auto label = batch.at("pair_label").data_ptr<std::int64_t>()[0];
    num_random += label == 1;
    if (label == 1) {
      // A part cut down to full stops does not tell where it comes from.
      const bool is_known = *std::max_element(first.begin(), first.end()) > kStop &&
                            *std::max_element(second.begin(), second.end()) > kStop;
      EXPECT_FALSE(is_same_document && is_known);
      continue;
    }
    EXPECT_TRUE(is_same_document);
    if (word(first, 0) >= 0 && word(second, 0) >= 0) EXPECT_LT(first[0], second[0]);
  }
  // Half, and four standard errors; single sentences, always random, are a few short samples.
  EXPECT_NEAR(num_random, kCount / 2, 4 * std::sqrt(kCount / 4.0) + 0.05 * kCount);
}

TEST_F(TextSourceTest, OrderPairsSwapHalfOfTheTime) {
  const auto source = make_text_source(
      stream({document(0, 200, 4)}), {.sequence_length = 33, .pairs = "sop", .short_pairs = 0}, 7);
  int num_swapped = 0;
  constexpr int kCount = 1000;
  for (int position = 0; position < kCount; ++position) {
    const Batch batch = read(*source, {position % source->num_samples()}, position);
    const auto [first, second] = parts(row(batch, "tokens"), row(batch, "segment"));
    const std::int64_t high_first = *std::max_element(first.begin(), first.end());
    const std::int64_t high_second = *std::max_element(second.begin(), second.end());
    const auto label = batch.at("pair_label").data_ptr<std::int64_t>()[0];
    EXPECT_EQ(label, high_first > high_second ? 1 : 0);
    num_swapped += label == 1;
  }
  EXPECT_NEAR(num_swapped, kCount / 2, 4 * std::sqrt(kCount / 4.0));
}

TEST_F(TextSourceTest, ASampleDependsOnItsPositionAlone) {
  const auto tokens = stream({document(0, 60, 5), document(100, 60, 5)});
  const auto source = make_text_source(tokens, {.sequence_length = 24, .pairs = "nsp"}, 3);
  const Batch together = read(*source, {4, 5, 6}, 100);
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(row(read(*source, {4 + i}, 100 + i), "tokens"), row(together, "tokens", i));
  }
}

TEST_F(TextSourceTest, DescribesItselfAndRefusesWhatCannotBe) {
  const auto tokens = stream({"w0 w1 w2"});
  const DatasetInfo info = describe_text(*tokens, {.sequence_length = 16});
  EXPECT_EQ(info.kind, "text");
  EXPECT_EQ(info.vocab_size, 306);
  EXPECT_EQ(info.integer("mask_token"), 4);
  EXPECT_EQ(info.num_samples, 1);
  EXPECT_THROW(describe_text(*tokens, {.sequence_length = 4}), Error);
  EXPECT_THROW(describe_text(*tokens, {.pairs = "both"}), Error);
}

}  // namespace
}  // namespace kiln
