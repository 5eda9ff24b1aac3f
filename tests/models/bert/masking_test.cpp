#include "models/bert/masking.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

namespace kiln {
namespace {

constexpr std::int64_t kVocabSize = 1000, kMaskToken = 5000, kLength = 128;

/// [CLS], words of 1 to 3 pieces, [SEP]. [MASK] lies beyond the vocabulary, so that no random draw
/// hits it.
struct Sequence {
  std::vector<std::int64_t> tokens;
  std::vector<std::uint8_t> kinds;
};

Sequence make_sequence() {
  Sequence sequence;
  for (std::int64_t i = 0; i < kLength; ++i) {
    const bool is_special = i == 0 || i == kLength - 1;
    sequence.tokens.push_back(100 + i);
    sequence.kinds.push_back(is_special ? 0 : i % 6 == 1 || i % 6 == 4 || i % 6 == 5 ? 1 : 2);
  }
  return sequence;
}

MaskingOptions make_options(MaskingOptions::Unit unit) {
  MaskingOptions options;
  options.unit = unit;
  options.vocab_size = kVocabSize;
  options.mask_token = kMaskToken;
  return options;
}

struct Counts {
  std::int64_t chosen = 0, masked = 0, same = 0, special = 0, tokens = 0;
};

Counts count(MaskingOptions::Unit unit, std::int64_t num_sequences) {
  const Sequence sequence = make_sequence();
  Counts counts;
  for (std::int64_t position = 0; position < num_sequences; ++position) {
    const Masking masking = draw_masking(sequence.tokens, sequence.kinds, kLength,
                                         make_options(unit), Philox(1, Purpose::kMask, position));
    counts.tokens += kLength;
    counts.chosen += std::ssize(masking.places);
    for (std::size_t i = 0; i < masking.places.size(); ++i) {
      const auto place = static_cast<std::size_t>(masking.places[i]);
      counts.masked += masking.inputs[i] == kMaskToken;
      counts.same += masking.inputs[i] == sequence.tokens[place];
      counts.special += sequence.kinds[place] == 0;
    }
  }
  return counts;
}

/// `hits` of `trials` against probability p, four standard errors.
void expect_share(std::int64_t hits, std::int64_t trials, double p) {
  const auto n = static_cast<double>(trials);
  EXPECT_NEAR(static_cast<double>(hits), n * p, 4 * std::sqrt(n * p * (1 - p)));
}

TEST(Masking, ChoosesFifteenPerCentAndShowsEightyTenTen) {
  const Counts counts = count(MaskingOptions::Unit::kToken, 1000);
  EXPECT_EQ(counts.chosen, 1000 * 19);  // .15 * 128 = 19.2
  EXPECT_EQ(counts.special, 0);
  expect_share(counts.masked, counts.chosen, 0.8);
  // A random token is the token itself one time in kVocabSize.
  expect_share(counts.same, counts.chosen, 0.1 + 0.1 / kVocabSize);
}

TEST(Masking, RoundsHalfToEvenAndKeepsWithinLimits) {
  MaskingOptions options;
  EXPECT_EQ(num_predictions(10, options), 2);  // 1.5
  EXPECT_EQ(num_predictions(30, options), 4);  // 4.5
  EXPECT_EQ(num_predictions(3, options), 1);
  options.max_predictions = 20;
  EXPECT_EQ(num_predictions(512, options), 20);
}

TEST(Masking, WholeWordsAreMaskedWithAllTheirPieces) {
  const Sequence sequence = make_sequence();
  for (std::int64_t position = 0; position < 200; ++position) {
    const Masking masking = draw_masking(sequence.tokens, sequence.kinds, kLength,
                                         make_options(MaskingOptions::Unit::kWholeWord),
                                         Philox(1, Purpose::kMask, position));
    std::vector<bool> is_chosen(kLength, false);
    for (const std::int64_t place : masking.places)
      is_chosen[static_cast<std::size_t>(place)] = true;
    for (std::size_t i = 0; i < kLength; ++i) {
      if (sequence.kinds[i] == 2) EXPECT_EQ(is_chosen[i], is_chosen[i - 1]) << i;
    }
    EXPECT_LE(masking.places.size(), 19u);
    EXPECT_GE(masking.places.size(), 17u);
  }
  const Counts counts = count(MaskingOptions::Unit::kWholeWord, 500);
  expect_share(counts.masked, counts.chosen, 0.8);
}

TEST(Masking, SpanLengthsAreGeometricCutOffAtTen) {
  MaskingOptions options;
  const Philox stream(1, Purpose::kMask, 0);
  constexpr int kCount = 20'000;
  std::vector<int> histogram(11, 0);
  double sum = 0, squares = 0;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const auto length = static_cast<double>(draw_span_words(options, stream.uniform(i)));
    ++histogram[static_cast<std::size_t>(length)];
    sum += length;
    squares += length * length;
  }
  const double total = 1 - std::pow(0.8, 10);
  double mean = 0;
  for (int length = 1; length <= 10; ++length) {
    const double p = 0.2 * std::pow(0.8, length - 1) / total;
    expect_share(histogram[static_cast<std::size_t>(length)], kCount, p);
    mean += length * p;
  }
  EXPECT_NEAR(mean, 3.797, 5e-4);
  const double deviation = std::sqrt(squares / kCount - sum / kCount * sum / kCount);
  EXPECT_NEAR(sum / kCount, mean, 4 * deviation / std::sqrt(kCount));
}

TEST(Masking, SpansShareTheirChoiceAndCoverWholeWords) {
  const Sequence sequence = make_sequence();
  for (std::int64_t position = 0; position < 200; ++position) {
    const Masking masking = draw_masking(sequence.tokens, sequence.kinds, kLength,
                                         make_options(MaskingOptions::Unit::kSpan),
                                         Philox(1, Purpose::kMask, position));
    EXPECT_LE(masking.places.size(), 19u);
    EXPECT_GE(masking.places.size(), 15u);
    for (std::size_t i = 0; i < masking.places.size(); ++i) {
      const auto place = static_cast<std::size_t>(masking.places[i]);
      if (sequence.kinds[place] != 2) continue;
      ASSERT_GT(i, 0u);
      EXPECT_EQ(masking.places[i - 1] + 1, masking.places[i]);
      EXPECT_EQ(masking.inputs[i] == kMaskToken, masking.inputs[i - 1] == kMaskToken);
    }
  }
}

TEST(Masking, SequencesWithoutWordsAreLeftAlone) {
  const std::vector<std::int64_t> tokens = {2, 3, 0, 0};
  const std::vector<std::uint8_t> kinds = {0, 0, 0, 0};
  for (const auto unit : {MaskingOptions::Unit::kToken, MaskingOptions::Unit::kSpan}) {
    EXPECT_TRUE(draw_masking(tokens, kinds, 2, make_options(unit), Philox(1, Purpose::kMask, 0))
                    .places.empty());
  }
}

}  // namespace
}  // namespace kiln
