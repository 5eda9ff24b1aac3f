#pragma once

#include <string>
#include <vector>

#include "launch/evaluate/evaluations.h"
#include "launch/run/result.h"
#include "launch/trained/eval_target.h"

namespace kiln {

/// Masked language model on held-out text, with masks drawn once for the position of each sample:
/// "mlm_loss" (nats), "mlm_accuracy", "perplexity" = exp(mlm_loss), "masked_tokens", "samples", and
/// "shuffled_loss", the same with all other words exchanged across the batch: what is left when the
/// context says nothing. With eval.train_path also "unigram_loss" at the same places, of counts
/// plus one of that text.
///
/// A fifth of the places do not show [MASK], and half of those show the word itself, which is worth
/// about half a nat without any context. "hidden_loss", "hidden_shuffled_loss" and
/// "hidden_unigram_loss" are of the places that show [MASK]: there nothing beats the unigram model
/// without context.
Figures evaluate_mlm(const Evaluated& evaluated);

/// The likeliest words for each [MASK] in `text`, best first: `kiln eval mlm RUN --text "..."`.
CommandResult predict_masked_words(const TargetArgs& args, const std::string& text);

}  // namespace kiln
