#include "models/ngram/ngram_evaluation.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "models/ngram/ngram.h"

namespace kiln {
namespace {

constexpr std::array kOrders = {2, 3, 5};
constexpr int kAddKOrder = 3;
constexpr std::array kAdded = {1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4};
constexpr Discounts kFallback = {0.5, 1.0, 1.5};

void add_figures(nlohmann::json& result, const std::string& name, const TextScore& score) {
  result[name + "_perplexity"] = score.perplexity();
  result[name + "_perplexity_known"] = score.perplexity_of_known();
  result[name + "_loss"] = std::log(score.perplexity());
}

class NgramEvaluation final : public CountedModel {
 public:
  int num_rounds() const override { return static_cast<int>(kOrders.size()); }
  void begin_round(int round, std::int64_t vocabulary_size) override {
    order_ = kOrders.at(static_cast<std::size_t>(round));
    vocabulary_size_ = vocabulary_size;
    own_.emplace(order_);
    all_.reset();
  }
  void count(const Sentence& sentence) override { own_->add_sentence(sentence); }
  std::vector<std::int64_t> counts(std::int64_t index, std::int64_t parts) const override {
    return own_->rows(index, parts);
  }
  void add_counts(const std::vector<std::int64_t>& all) override {
    if (!all_) all_.emplace(order_);
    all_->add_rows(all);
  }

  void score(const Sentences& held_out, nlohmann::json& figures) const override {
    const NgramCounter& counts = all_ ? *all_ : *own_;
    if (order_ == kOrders.front()) {
      const TextScore unigram = score_unigram(counts, held_out);
      add_figures(figures, "unigram", unigram);
      figures["tokens"] = unigram.words;
      figures["sentences"] = unigram.sentences;
    }
    if (order_ == kAddKOrder) add_best_add_k(figures, counts, held_out);
    const TextScore score = score_of(KneserNey(counts, kFallback), held_out);
    add_figures(figures, fmt::format("kneser_ney_{}", order_), score);
    figures["unknown_tokens"] = score.unknown;
  }

 private:
  TextScore score_unigram(const NgramCounter& counts, const Sentences& held_out) const {
    // The end of a sentence is one more word, behind those of the vocabulary.
    const std::int64_t end = vocabulary_size_;
    AddOneUnigram model(end + 1);
    for (const auto& [gram, count] : counts.counts(1)) {
      if (gram.words[0] >= 0) model.add(gram.words[0], count);
      if (gram.words[0] == Gram::kEnd) model.add(end, count);
    }
    TextScore score;
    held_out([&](const Sentence& sentence) {
      for (const std::int32_t word : sentence) score.log_probability += model.log_probability(word);
      score.log_probability += model.log_probability(end);
      score.words += std::ssize(sentence);
      ++score.sentences;
    });
    return score;
  }

  static TextScore score_of(const NgramModel& model, const Sentences& held_out) {
    TextScore score;
    held_out([&](const Sentence& sentence) { score_sentence(model, sentence, score); });
    return score;
  }

  /// With the k that does best on the test itself: what add-k could reach at most.
  static void add_best_add_k(nlohmann::json& figures, const NgramCounter& counts,
                             const Sentences& held_out) {
    TextScore best;
    for (const double k : kAdded) {
      const TextScore score = score_of(AddK(counts, k), held_out);
      if (best.words > 0 && score.log_probability <= best.log_probability) continue;
      best = score;
      figures["add_k"] = k;
    }
    add_figures(figures, fmt::format("add_k_{}", counts.order()), best);
  }

  int order_ = 0;
  std::int64_t vocabulary_size_ = 0;
  std::optional<NgramCounter> own_, all_;
};

}  // namespace

std::unique_ptr<CountedModel> make_ngram_evaluation() {
  return std::make_unique<NgramEvaluation>();
}

}  // namespace kiln
