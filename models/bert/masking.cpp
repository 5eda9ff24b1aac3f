#include "models/bert/masking.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/work.h"

namespace kiln {
namespace {

class Draws {
 public:
  explicit Draws(const Philox& stream) : stream_(stream) {}
  std::int64_t below(std::int64_t bound) { return stream_.below(bound, next_++); }
  double uniform() { return static_cast<double>(below(std::int64_t{1} << 31)) * 0x1.0p-31; }

 private:
  Philox stream_;
  std::uint64_t next_ = 0;
};

/// Runs of tokens that are chosen together, in order: single tokens or words. A word's pieces do
/// not reach across a token that is never masked.
std::vector<Range> units_of(std::span<const std::uint8_t> kinds, std::int64_t num_tokens,
                            bool is_whole_word) {
  std::vector<Range> units;
  for (std::int64_t i = 0; i < num_tokens; ++i) {
    const auto kind = static_cast<MaskingKind>(kinds[static_cast<std::size_t>(i)]);
    if (kind == MaskingKind::kNever) continue;
    const bool continues = is_whole_word && kind == MaskingKind::kContinuation && !units.empty() &&
                           units.back().end == i;
    if (continues) {
      ++units.back().end;
    } else {
      units.push_back({i, i + 1});
    }
  }
  return units;
}

/// Units in random order, each taken if it still fits.
std::vector<Range> choose_units(std::vector<Range> units, std::int64_t num_wanted, Draws& draws) {
  std::vector<Range> chosen;
  std::int64_t num_chosen = 0;
  for (std::size_t i = 0; i < units.size() && num_chosen < num_wanted; ++i) {
    const auto rest = static_cast<std::int64_t>(units.size() - i);
    std::swap(units[i], units[i + static_cast<std::size_t>(draws.below(rest))]);
    if (num_chosen + units[i].size() > num_wanted) continue;
    chosen.push_back(units[i]);
    num_chosen += units[i].size();
  }
  return chosen;
}

/// Spans of words that neither overlap nor reach across a token that is never masked.
std::vector<Range> choose_spans(const std::vector<Range>& words, std::int64_t num_wanted,
                                const MaskingOptions& options, Draws& draws) {
  std::vector<Range> chosen;
  std::vector<bool> is_taken(words.size(), false);
  std::int64_t num_chosen = 0;
  // Where everything that fits is taken, further tries find nothing.
  const std::size_t max_tries = 10 * words.size() + 10;
  for (std::size_t i = 0; i < max_tries && num_chosen < num_wanted && !words.empty(); ++i) {
    const std::int64_t length = draw_span_words(options, draws.uniform());
    const auto first = static_cast<std::size_t>(draws.below(std::ssize(words)));
    Range span = {words[first].begin, words[first].begin};
    std::size_t last = first;
    for (; last < words.size() && static_cast<std::int64_t>(last - first) < length; ++last) {
      const bool fits = num_chosen + words[last].end - span.begin <= num_wanted;
      if (is_taken[last] || words[last].begin != span.end || !fits) break;
      span.end = words[last].end;
    }
    if (span.size() == 0) continue;
    std::fill(is_taken.begin() + static_cast<std::ptrdiff_t>(first),
              is_taken.begin() + static_cast<std::ptrdiff_t>(last), true);
    chosen.push_back(span);
    num_chosen += span.size();
  }
  return chosen;
}

}  // namespace

std::int64_t num_predictions(std::int64_t length, const MaskingOptions& options) {
  const auto rounded =
      static_cast<std::int64_t>(std::nearbyint(options.share * static_cast<double>(length)));
  const std::int64_t at_least_one = std::max<std::int64_t>(rounded, 1);
  return options.max_predictions > 0 ? std::min(at_least_one, options.max_predictions)
                                     : at_least_one;
}

std::int64_t draw_span_words(const MaskingOptions& options, double uniform) {
  const double failure = 1.0 - options.span_success;
  const double total = 1.0 - std::pow(failure, static_cast<double>(options.max_span_words));
  // Inverse of the distribution function 1 - failure^l, cut off.
  const double length = std::log1p(-uniform * total) / std::log(failure);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(length)) + 1, 1,
                                  options.max_span_words);
}

Masking draw_masking(std::span<const std::int64_t> tokens, std::span<const std::uint8_t> kinds,
                     std::int64_t num_tokens, const MaskingOptions& options, const Philox& stream) {
  Draws draws(stream);
  const bool is_token = options.unit == MaskingOptions::Unit::kToken;
  const std::vector<Range> units = units_of(kinds, num_tokens, !is_token);
  const std::int64_t num_wanted = num_predictions(num_tokens, options);
  std::vector<Range> chosen = options.unit == MaskingOptions::Unit::kSpan
                                  ? choose_spans(units, num_wanted, options, draws)
                                  : choose_units(units, num_wanted, draws);
  std::sort(chosen.begin(), chosen.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  Masking masking;
  for (const Range& run : chosen) {
    bool is_mask = false, is_same = false;
    for (std::int64_t place = run.begin; place < run.end; ++place) {
      const bool is_new_choice = place == run.begin || options.unit != MaskingOptions::Unit::kSpan;
      if (is_new_choice) {
        is_mask = draws.uniform() < 0.8;
        is_same = !is_mask && draws.uniform() < 0.5;
      }
      masking.places.push_back(place);
      masking.inputs.push_back(is_mask   ? options.mask_token
                               : is_same ? tokens[static_cast<std::size_t>(place)]
                                         : draws.below(options.vocab_size));
    }
  }
  return masking;
}

}  // namespace kiln
