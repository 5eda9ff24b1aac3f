#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace kiln {

/// n-gram language models with interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1999;
/// conventions of Heafield et al., "Scalable modified Kneser-Ney language model estimation", ACL
/// 2013).
///
/// Words are ids >= 0. Every sentence is surrounded by one <s>, which is context only, and one
/// </s>. The vocabulary of the distribution is the words seen, </s> and <unk>.
struct Gram {
  static constexpr int kMaxOrder = 6;
  static constexpr std::int32_t kBegin = -2, kEnd = -3, kUnknown = -4;
  std::array<std::int32_t, kMaxOrder> words;  // beyond the order: -1
  Gram() { words.fill(-1); }
  friend auto operator<=>(const Gram&, const Gram&) = default;
};
struct GramHash {
  std::size_t operator()(const Gram& gram) const noexcept;
};
using GramCounts = std::unordered_map<Gram, std::int64_t, GramHash>;

/// Raw counts of all orders up to `order`; counts of parts of a text add up to those of the whole.
class NgramCounter {
 public:
  explicit NgramCounter(int order);
  void add_sentence(std::span<const std::int32_t> words);
  /// Adds counts of another part: rows as rows() gives them.
  void add_rows(std::span<const std::int64_t> rows);
  /// All counts as rows of kMaxOrder words and a count, sorted: what ranks send each other.
  std::vector<std::int64_t> rows() const;
  /// Part `index` of `parts` of the counts, by the n-gram's hash.
  std::vector<std::int64_t> rows(std::int64_t index, std::int64_t parts) const;

  int order() const { return order_; }
  /// n-grams of n = 1 .. order words.
  const GramCounts& counts(int n) const { return counts_[static_cast<std::size_t>(n - 1)]; }

 private:
  int order_;
  std::vector<GramCounts> counts_;
};

/// D1, D2, D3+ for counts of 1, 2, and 3 or more.
using Discounts = std::array<double, 3>;
/// From the numbers n1 .. n4 of n-grams with those counts: D_j = j - (j+1) Y n_{j+1} / n_j,
/// Y = n1 / (n1 + 2 n2). None where n1, n2 or n3 is zero or a discount is outside [0, j]; n4 may be
/// zero, as lmplz has it.
std::optional<Discounts> estimate_discounts(std::array<std::int64_t, 4> counts_of_counts);

class NgramModel {
 public:
  virtual ~NgramModel() = default;
  virtual bool knows(std::int32_t word) const = 0;
  /// p(word | context): the last order - 1 words of `context` count. Unknown words have to be given
  /// as Gram::kUnknown, the beginning of a sentence as Gram::kBegin.
  virtual double probability(std::int32_t word, std::span<const std::int32_t> context) const = 0;
};

/// p(w | c) = (count(c w) + k) / (count(c) + k |V|).
class AddK final : public NgramModel {
 public:
  /// `counts` must outlive the model.
  AddK(const NgramCounter& counts, double k);
  bool knows(std::int32_t word) const override;
  double probability(std::int32_t word, std::span<const std::int32_t> context) const override;

 private:
  const NgramCounter& counts_;
  double k_;
  double vocab_size_ = 0;
  double total_ = 0;  // words and ends of sentences
};

class BackoffModel;

class KneserNey final : public NgramModel {
 public:
  /// `fallback`: discounts of the orders that cannot estimate their own; without it such an order
  /// is an Error(kData). `is_forced`: uses `fallback` for all orders.
  KneserNey(const NgramCounter& counts, std::optional<Discounts> fallback, bool is_forced = false);

  int order() const { return order_; }
  std::int64_t vocab_size() const { return vocab_size_; }
  bool knows(std::int32_t word) const override;
  double probability(std::int32_t word, std::span<const std::int32_t> context) const override;
  /// The discounts of n-grams of n words.
  const Discounts& discounts(int n) const { return discounts_[static_cast<std::size_t>(n - 1)]; }
  /// The same model with interpolated probabilities listed: what ARPA files hold. `spell` gives the
  /// spelling of a word >= 0.
  BackoffModel backoff_model(const std::function<std::string(std::int32_t)>& spell) const;

 private:
  struct Context {
    double total = 0;                        // sum of adjusted counts
    std::array<std::int64_t, 3> num_with{};  // n-grams with adjusted count 1, 2, 3+
  };
  double discount(int n, std::int64_t count) const;
  double backoff(int n, const Context& context) const;  // gamma
  void set_discounts(int n, const std::optional<Discounts>& fallback, bool is_forced);

  int order_;
  std::int64_t vocab_size_ = 0;
  std::vector<GramCounts> adjusted_;  // per order
  std::vector<std::unordered_map<Gram, Context, GramHash>>
      contexts_;  // by the n-gram's first words
  std::vector<Discounts> discounts_;
};

/// Sums over a text: perplexity = exp(-log_probability / (words + sentences)).
struct TextScore {
  double log_probability = 0;  // natural
  std::int64_t words = 0, sentences = 0, unknown = 0;
  double unknown_log_probability = 0;
  double perplexity() const;
  /// Without the words the model does not know.
  double perplexity_of_known() const;
};
void score_sentence(const NgramModel& model, std::span<const std::int32_t> words, TextScore& score);

/// The unigram model with one added to every count: p(w) = (count + 1) / (total + vocab_size).
class AddOneUnigram {
 public:
  explicit AddOneUnigram(std::int64_t vocab_size)
      : counts_(static_cast<std::size_t>(vocab_size), 0) {}
  void add(std::int64_t word) { add(word, 1); }
  void add(std::int64_t word, std::int64_t count) {
    counts_[static_cast<std::size_t>(word)] += count;
    total_ += count;
  }
  double log_probability(std::int64_t word) const;

 private:
  std::vector<std::int64_t> counts_;
  std::int64_t total_ = 0;
};

}  // namespace kiln
