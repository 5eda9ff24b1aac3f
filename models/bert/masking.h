#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/philox.h"

namespace kiln {

/// Which tokens of a sequence a masked language model is to predict, and what it sees in their
/// place (Devlin et al., arXiv:1810.04805, appendix A.1).
struct MaskingOptions {
  enum class Unit {
    kToken,
    kWholeWord,  // a word start with the "##" pieces behind it
    kSpan,       // runs of whole words (Joshi et al., arXiv:1907.10529)
  };
  Unit unit = Unit::kToken;
  double share = 0.15;               // of all tokens, [CLS] and [SEP] included in the count
  std::int64_t max_predictions = 0;  // per sequence; 0: no limit
  double span_success = 0.2;         // parameter of the geometric distribution of span lengths
  std::int64_t max_span_words = 10;
  std::int64_t vocab_size = 0;
  std::int64_t mask_token = 0;
};

/// What masking knows of each token; the same values as in the batch tensor "kind".
enum class MaskingKind : std::uint8_t { kNever = 0, kWordStart = 1, kContinuation = 2 };

struct Masking {
  std::vector<std::int64_t> places;  // ascending: the tokens to predict
  std::vector<std::int64_t>
      inputs;  // what stands there instead: [MASK], another token, or the same
};

/// The number of tokens to predict of `length`: share * length rounded half to even, at least 1, at
/// most max_predictions.
std::int64_t num_predictions(std::int64_t length, const MaskingOptions& options);

/// Draws the masking of one sequence. `num_tokens` is its length without padding; kinds and tokens
/// may be longer. Of the places chosen, 80 % show [MASK]; of the rest one half the token itself,
/// the other half one drawn from the whole vocabulary. With spans a span shares that choice.
///
/// Words and spans are taken whole as long as the number to predict is not exceeded, so their total
/// may fall short of it. A pure function of the arguments.
Masking draw_masking(std::span<const std::int64_t> tokens, std::span<const std::uint8_t> kinds,
                     std::int64_t num_tokens, const MaskingOptions& options, const Philox& stream);

/// Length of a span in words from a uniform number on [0, 1): geometric, cut off at max_span_words
/// and renormalised; its mean for 0.2 and 10 is 3.797.
std::int64_t draw_span_words(const MaskingOptions& options, double uniform);

}  // namespace kiln
