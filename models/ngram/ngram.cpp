#include "models/ngram/ngram.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "models/ngram/arpa.h"

namespace kiln {
namespace {

constexpr std::size_t kRow = Gram::kMaxOrder + 1;

int size_of(const Gram& gram) {
  const auto end = std::find(gram.words.begin(), gram.words.end(), -1);
  return static_cast<int>(end - gram.words.begin());
}

/// Words [begin, end) of a gram.
Gram part(const Gram& gram, int begin, int end) {
  Gram result;
  std::copy(gram.words.begin() + begin, gram.words.begin() + end, result.words.begin());
  return result;
}

Gram unigram(std::int32_t word) {
  Gram gram;
  gram.words[0] = word;
  return gram;
}

std::int64_t count_of(const GramCounts& counts, const Gram& gram) {
  const auto found = counts.find(gram);
  return found == counts.end() ? 0 : found->second;
}

std::size_t bucket(std::int64_t count) {
  return static_cast<std::size_t>(std::min<std::int64_t>(count, 3) - 1);
}

}  // namespace

std::size_t GramHash::operator()(const Gram& gram) const noexcept {
  std::uint64_t hash = 0x9E3779B97F4A7C15u;
  for (const std::int32_t word : gram.words) {
    hash = (hash ^ static_cast<std::uint32_t>(word)) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  }
  return hash;
}

NgramCounter::NgramCounter(int order) : order_(order), counts_(static_cast<std::size_t>(order)) {
  if (order < 1 || order > Gram::kMaxOrder) {
    throw usage_error("n-grams of order {}: choose 1 to {}", order, Gram::kMaxOrder);
  }
}

void NgramCounter::add_sentence(std::span<const std::int32_t> words) {
  std::vector<std::int32_t> all = {Gram::kBegin};
  all.insert(all.end(), words.begin(), words.end());
  all.push_back(Gram::kEnd);
  for (std::size_t begin = 0; begin < all.size(); ++begin) {
    Gram gram;
    const std::size_t most = std::min(all.size() - begin, static_cast<std::size_t>(order_));
    for (std::size_t n = 0; n < most; ++n) {
      gram.words[n] = all[begin + n];
      ++counts_[n][gram];
    }
  }
}

std::vector<std::int64_t> NgramCounter::rows() const { return rows(0, 1); }

std::vector<std::int64_t> NgramCounter::rows(std::int64_t index, std::int64_t parts) const {
  std::vector<std::pair<Gram, std::int64_t>> sorted;
  for (const GramCounts& counts : counts_) {
    for (const auto& entry : counts) {
      const std::size_t hash = GramHash{}(entry.first);
      if (static_cast<std::int64_t>(hash % static_cast<std::size_t>(parts)) == index) {
        sorted.push_back(entry);
      }
    }
  }
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::int64_t> rows;
  rows.reserve(sorted.size() * kRow);
  for (const auto& [gram, count] : sorted) {
    rows.insert(rows.end(), gram.words.begin(), gram.words.end());
    rows.push_back(count);
  }
  return rows;
}

void NgramCounter::add_rows(std::span<const std::int64_t> rows) {
  KILN_CHECK(rows.size() % kRow == 0, "{} values are no rows of n-grams", rows.size());
  for (std::size_t at = 0; at < rows.size(); at += kRow) {
    Gram gram;
    for (std::size_t i = 0; i + 1 < kRow; ++i) {
      gram.words[i] = static_cast<std::int32_t>(rows[at + i]);
    }
    counts_[static_cast<std::size_t>(size_of(gram) - 1)][gram] += rows[at + kRow - 1];
  }
}

std::optional<Discounts> estimate_discounts(std::array<std::int64_t, 4> n) {
  if (n[0] <= 0 || n[1] <= 0 || n[2] <= 0) return std::nullopt;
  const auto count = [&](std::size_t j) { return static_cast<double>(n[j - 1]); };
  const double y = count(1) / (count(1) + 2 * count(2));
  Discounts discounts;
  for (std::size_t j = 1; j <= 3; ++j) {
    const auto most = static_cast<double>(j);
    const double d = most - (most + 1) * y * count(j + 1) / count(j);
    if (d < 0 || d > most) return std::nullopt;
    discounts[j - 1] = d;
  }
  return discounts;
}

AddK::AddK(const NgramCounter& counts, double k) : counts_(counts), k_(k) {
  vocab_size_ = 1;  // <unk>
  for (const auto& [gram, count] : counts.counts(1)) {
    if (gram.words[0] == Gram::kBegin) continue;  // context only
    ++vocab_size_;
    total_ += static_cast<double>(count);
  }
}

bool AddK::knows(std::int32_t word) const { return counts_.counts(1).contains(unigram(word)); }

double AddK::probability(std::int32_t word, std::span<const std::int32_t> context) const {
  const auto n = std::min(context.size(), static_cast<std::size_t>(counts_.order() - 1));
  Gram gram;
  std::ranges::copy(context.last(n), gram.words.begin());
  const double seen =
      n == 0 ? total_ : static_cast<double>(count_of(counts_.counts(static_cast<int>(n)), gram));
  gram.words[n] = word;
  const auto with_word =
      static_cast<double>(count_of(counts_.counts(static_cast<int>(n) + 1), gram));
  return (with_word + k_) / (seen + k_ * vocab_size_);
}

KneserNey::KneserNey(const NgramCounter& counts, std::optional<Discounts> fallback, bool is_forced)
    : order_(counts.order()),
      adjusted_(static_cast<std::size_t>(order_)),
      contexts_(static_cast<std::size_t>(order_)),
      discounts_(static_cast<std::size_t>(order_)) {
  // Highest order: raw counts. Below: the number of distinct words to the left, but raw counts for
  // what begins with <s>, which has nothing to its left.
  adjusted_.back() = counts.counts(order_);
  for (int n = 1; n < order_; ++n) {
    GramCounts& adjusted = adjusted_[static_cast<std::size_t>(n - 1)];
    for (const auto& [longer, count] : counts.counts(n + 1)) ++adjusted[part(longer, 1, n + 1)];
    for (const auto& [gram, count] : counts.counts(n)) {
      if (gram.words[0] == Gram::kBegin) adjusted[gram] = count;
    }
  }
  adjusted_[0].erase(unigram(Gram::kBegin));  // context only
  vocab_size_ = std::ssize(adjusted_[0]) + 1;
  for (int n = 1; n <= order_; ++n) {
    const auto index = static_cast<std::size_t>(n - 1);
    for (const auto& [gram, count] : adjusted_[index]) {
      Context& context = contexts_[index][part(gram, 0, n - 1)];
      context.total += static_cast<double>(count);
      ++context.num_with[bucket(count)];
    }
    set_discounts(n, fallback, is_forced);
  }
}

void KneserNey::set_discounts(int n, const std::optional<Discounts>& fallback, bool is_forced) {
  std::array<std::int64_t, 4> counts_of_counts{};
  for (const auto& [gram, count] : adjusted_[static_cast<std::size_t>(n - 1)]) {
    if (count <= 4) ++counts_of_counts[static_cast<std::size_t>(count - 1)];
  }
  const auto estimated = is_forced ? std::nullopt : estimate_discounts(counts_of_counts);
  if (!estimated && !fallback) {
    throw data_error(
        "the text is too small or too regular to estimate discounts of order {}: there are {}, {}, "
        "{} and {} n-grams with counts of 1 to 4. Allow fallback discounts, or take a lower order",
        n, counts_of_counts[0], counts_of_counts[1], counts_of_counts[2], counts_of_counts[3]);
  }
  discounts_[static_cast<std::size_t>(n - 1)] = estimated ? *estimated : *fallback;
}

bool KneserNey::knows(std::int32_t word) const { return adjusted_[0].contains(unigram(word)); }

double KneserNey::discount(int n, std::int64_t count) const {
  return count == 0 ? 0.0 : discounts_[static_cast<std::size_t>(n - 1)][bucket(count)];
}

double KneserNey::backoff(int n, const Context& context) const {
  const Discounts& d = discounts_[static_cast<std::size_t>(n - 1)];
  double sum = 0;
  for (std::size_t i = 0; i < d.size(); ++i) {
    sum += d[i] * static_cast<double>(context.num_with[i]);
  }
  return sum / context.total;
}

double KneserNey::probability(std::int32_t word, std::span<const std::int32_t> context) const {
  double p = 1.0 / static_cast<double>(vocab_size_);
  const int most =
      static_cast<int>(std::min<std::size_t>(context.size(), static_cast<std::size_t>(order_ - 1)));
  // From the empty context up: each order interpolates with the one below.
  for (int length = 0; length <= most; ++length) {
    Gram gram;
    std::copy(context.end() - length, context.end(), gram.words.begin());
    const int n = length + 1;
    const auto index = static_cast<std::size_t>(n - 1);
    const auto found = contexts_[index].find(gram);
    if (found == contexts_[index].end()) continue;  // unseen: the lower order as it is
    gram.words[static_cast<std::size_t>(length)] = word;
    const std::int64_t c = count_of(adjusted_[index], gram);
    p = std::max(static_cast<double>(c) - discount(n, c), 0.0) / found->second.total +
        backoff(n, found->second) * p;
  }
  return p;
}

BackoffModel KneserNey::backoff_model(const std::function<std::string(std::int32_t)>& spell) const {
  BackoffModel model(order_);
  const auto log10_backoff = [&](int n, const Gram& gram) {
    if (n == order_) return 0.0;
    const auto& longer = contexts_[static_cast<std::size_t>(n)];
    const auto found = longer.find(gram);
    return found == longer.end() ? 0.0 : std::log10(backoff(n + 1, found->second));
  };
  for (int n = 1; n <= order_; ++n) {
    const auto last = static_cast<std::size_t>(n - 1);
    for (const auto& [gram, count] : adjusted_[last]) {
      const double p = probability(gram.words[last], {gram.words.data(), last});
      model.add(n, gram, {std::log10(p), log10_backoff(n, gram)});
      if (n == 1 && gram.words[0] >= 0) model.set_spelling(gram.words[0], spell(gram.words[0]));
    }
  }
  // <s> is never predicted, only a context; <unk> has no count.
  model.add(1, unigram(Gram::kBegin), {0.0, log10_backoff(1, unigram(Gram::kBegin))});
  model.add(1, unigram(Gram::kUnknown), {std::log10(probability(Gram::kUnknown, {})), 0.0});
  return model;
}

double TextScore::perplexity() const {
  return std::exp(-log_probability / static_cast<double>(words + sentences));
}

double TextScore::perplexity_of_known() const {
  return std::exp(-(log_probability - unknown_log_probability) /
                  static_cast<double>(words + sentences - unknown));
}

void score_sentence(const NgramModel& model, std::span<const std::int32_t> words,
                    TextScore& score) {
  std::vector<std::int32_t> seen = {Gram::kBegin};
  const auto add = [&](std::int32_t word) {
    const double p = std::log(model.probability(word, seen));
    score.log_probability += p;
    seen.push_back(word);
    return p;
  };
  for (const std::int32_t word : words) {
    const bool is_known = model.knows(word);
    const double p = add(is_known ? word : Gram::kUnknown);
    if (is_known) continue;
    ++score.unknown;
    score.unknown_log_probability += p;
  }
  add(Gram::kEnd);
  score.words += std::ssize(words);
  ++score.sentences;
}

double AddOneUnigram::log_probability(std::int64_t word) const {
  const auto count = static_cast<double>(counts_[static_cast<std::size_t>(word)]);
  return std::log((count + 1) /
                  (static_cast<double>(total_) + static_cast<double>(counts_.size())));
}

}  // namespace kiln
