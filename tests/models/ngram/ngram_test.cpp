#include "models/ngram/ngram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "core/base/error.h"
#include "models/ngram/arpa.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

constexpr std::int32_t kThe = 0, kCat = 1, kSat = 2, kDog = 3, kRan = 4;
constexpr Discounts kFallback = {0.5, 1.0, 1.5};
const std::vector<std::vector<std::int32_t>> kCorpus = {
    {kThe, kCat, kSat}, {kThe, kDog, kSat}, {kThe, kCat, kRan}};

NgramCounter count(int order, const std::vector<std::vector<std::int32_t>>& corpus = kCorpus) {
  NgramCounter counter(order);
  for (const auto& sentence : corpus) counter.add_sentence(sentence);
  return counter;
}

double log_probability(const KneserNey& model, const std::vector<std::int32_t>& sentence) {
  TextScore score;
  score_sentence(model, sentence, score);
  return score.log_probability;
}

// Figures of an independent computation of the same three sentences.
TEST(KneserNey, MeetsTheGoldenBigrams) {
  const KneserNey model(count(2), kFallback, true);
  const auto p = [&](std::int32_t word, std::int32_t context) {
    return model.probability(word, std::vector{context});
  };
  EXPECT_EQ(model.vocab_size(), 7);
  EXPECT_NEAR(p(kThe, Gram::kBegin), .5669642857, 1e-9);
  EXPECT_NEAR(p(kCat, kThe), .4002976190, 1e-9);
  EXPECT_NEAR(p(kDog, kThe), .2336309524, 1e-9);
  EXPECT_NEAR(p(kRan, kDog), .0669642857, 1e-9);
  EXPECT_NEAR(p(kSat, kCat), .3482142857, 1e-9);
  EXPECT_NEAR(p(Gram::kEnd, kRan), .5982142857, 1e-9);
  EXPECT_NEAR(p(Gram::kUnknown, kThe), .0357142857, 1e-9);
  EXPECT_NEAR(log_probability(model, {kThe, kDog, kRan}), -5.2388736032, 1e-9);
  EXPECT_NEAR(log_probability(model, {kThe, kCat, kSat}), -3.0517494034, 1e-9);
}

TEST(KneserNey, MeetsTheGoldenTrigrams) {
  const KneserNey model(count(3), kFallback, true);
  TextScore score;
  score_sentence(model, std::vector{kThe, kDog, kRan}, score);
  EXPECT_NEAR(score.log_probability, -5.6014805746, 1e-9);
  EXPECT_NEAR(score.perplexity(), 4.0567012512, 1e-9);
  EXPECT_NEAR(log_probability(model, {kThe, kCat, kSat}), -2.3591400529, 1e-9);
}

TEST(KneserNey, DistributionsSumToOneInSeenAndUnseenContexts) {
  const std::vector<std::int32_t> outcomes = {kThe, kCat,       kSat,          kDog,
                                              kRan, Gram::kEnd, Gram::kUnknown};
  for (int order = 1; order <= 4; ++order) {
    const KneserNey model(count(order), kFallback, true);
    std::vector<std::vector<std::int32_t>> contexts = {{}, {Gram::kBegin}, {99}, {99, 98, 97}};
    for (const std::int32_t a : {Gram::kBegin, kThe, kCat, kSat, kDog, kRan}) {
      for (const std::int32_t b : {kThe, kCat, kSat, kDog, kRan}) contexts.push_back({a, b});
    }
    for (const auto& context : contexts) {
      double sum = 0;
      for (const std::int32_t word : outcomes) sum += model.probability(word, context);
      EXPECT_NEAR(sum, 1.0, 1e-9) << order;
    }
  }
}

TEST(KneserNey, EstimatesDiscountsFromCountsOfCounts) {
  const auto discounts = estimate_discounts({10, 5, 3, 2});
  ASSERT_TRUE(discounts);
  EXPECT_NEAR((*discounts)[0], .5, 1e-12);
  EXPECT_NEAR((*discounts)[1], 1.1, 1e-12);
  EXPECT_NEAR((*discounts)[2], 5.0 / 3, 1e-12);
  EXPECT_FALSE(estimate_discounts({10, 5, 0, 2}));
  const auto without_fours = estimate_discounts({10, 5, 3, 0});
  ASSERT_TRUE(without_fours);
  EXPECT_EQ((*without_fours)[2], 3.0);
  EXPECT_THROW(KneserNey(count(2), std::nullopt), Error);
}

TEST(NgramCounter, PartsAddUpToTheWholeHoweverTheyAreCut) {
  NgramCounter merged(3);
  for (const auto& sentence : kCorpus) {
    const NgramCounter part = count(3, {sentence});
    for (std::int64_t i = 0; i < 2; ++i) merged.add_rows(part.rows(i, 2));
  }
  EXPECT_EQ(merged.rows(), count(3).rows());
}

BackoffModel backoff(const KneserNey& model) {
  return model.backoff_model([](std::int32_t word) { return fmt::format("w{}", word); });
}

TEST(Arpa, ListsEveryNgramOnceAndTheStartWithoutProbability) {
  const TemporaryFolder folder;
  backoff(KneserNey(count(2), kFallback, true)).write(folder / "model.arpa");
  std::ifstream in(folder / "model.arpa");
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_NE(text.str().find("ngram 1=8\n"), std::string::npos);
  EXPECT_NE(text.str().find("ngram 2=8\n"), std::string::npos);
  EXPECT_NE(text.str().find("0\t<s>\t"), std::string::npos);
  EXPECT_NE(text.str().find(fmt::format("{:.9g}\tw0 w1\n", std::log10(.400297619047619))),
            std::string::npos);
}

TEST(Arpa, BacksOffToWhatInterpolationGives) {
  for (int order = 1; order <= 4; ++order) {
    const KneserNey model(count(order), kFallback, true);
    const BackoffModel listed = backoff(model);
    for (const std::int32_t word : {kThe, kCat, kSat, kDog, kRan, Gram::kEnd, Gram::kUnknown}) {
      for (const std::int32_t a : {Gram::kBegin, kThe, kCat, kRan, Gram::kUnknown}) {
        for (const std::int32_t b : {kThe, kDog, kSat}) {
          EXPECT_NEAR(listed.probability(word, std::vector{a, b}),
                      model.probability(word, std::vector{a, b}), 1e-12);
        }
      }
    }
  }
}

TEST(Arpa, ReadsWhatItWroteToTheSameBytes) {
  const TemporaryFolder folder;
  const BackoffModel model = backoff(KneserNey(count(3), kFallback, true));
  model.write(folder / "a.arpa");
  const BackoffModel read = read_arpa(folder / "a.arpa");
  EXPECT_EQ(read.order(), 3);
  EXPECT_EQ(read.entries(2).size(), model.entries(2).size());
  EXPECT_EQ(read.spelling(read.word("w3")), "w3");
  EXPECT_FALSE(read.knows(read.word("elsewhere")));
  read.write(folder / "b.arpa");
  read_arpa(folder / "b.arpa").write(folder / "c.arpa");
  std::ifstream b(folder / "b.arpa"), c(folder / "c.arpa");
  std::stringstream first, second;
  first << b.rdbuf();
  second << c.rdbuf();
  EXPECT_EQ(first.str(), second.str());
}

TEST(Arpa, RefusesDamagedFilesNamingTheLine) {
  const auto message = [](const std::string& text) {
    std::istringstream in(text);
    try {
      read_arpa(in, "m.arpa");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message("hello").find("'\\data\\' is missing"), std::string::npos);
  EXPECT_NE(message("\\data\\\nngram 1=2\n\\1-grams:\n-1 a\n\\end\\\n").find("line 5"),
            std::string::npos);
  EXPECT_NE(message("\\data\\\nngram 1=1\n\\1-grams:\nx a\n\\end\\\n").find("'x' is no number"),
            std::string::npos);
}

TEST(AddK, DividesCountsAndSumsToOne) {
  const NgramCounter counts = count(3);
  const AddK model(counts, 0.5);
  // The cat: 2 of 3, 7 outcomes. Of the words behind <s> and of all 12 words and ends.
  EXPECT_NEAR(model.probability(kCat, std::vector{Gram::kBegin, kThe}), 2.5 / 6.5, 1e-15);
  EXPECT_NEAR(model.probability(kThe, std::vector{Gram::kBegin}), 3.5 / 6.5, 1e-15);
  EXPECT_NEAR(model.probability(Gram::kEnd, {}), 3.5 / 15.5, 1e-15);
  EXPECT_TRUE(model.knows(kRan));
  EXPECT_FALSE(model.knows(99));
  const std::vector<std::vector<std::int32_t>> contexts = {
      {}, {Gram::kBegin}, {Gram::kBegin, kThe}, {kThe, kDog}, {99, 98}};
  for (const auto& context : contexts) {
    double sum = 0;
    for (const std::int32_t word : {kThe, kCat, kSat, kDog, kRan, Gram::kEnd, Gram::kUnknown}) {
      sum += model.probability(word, context);
    }
    EXPECT_NEAR(sum, 1.0, 1e-12);
  }
}

TEST(AddOneUnigram, AddsOneToEveryCount) {
  AddOneUnigram model(4);
  model.add(1);
  model.add(1);
  model.add(3);
  EXPECT_NEAR(std::exp(model.log_probability(1)), 3.0 / 7, 1e-15);
  EXPECT_NEAR(std::exp(model.log_probability(0)), 1.0 / 7, 1e-15);
}

}  // namespace
}  // namespace kiln
