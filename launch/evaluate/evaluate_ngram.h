#pragma once

#include "launch/run/result.h"
#include "launch/trained/eval_target.h"

namespace kiln {

/// `kiln eval ngram DATASET|RUN eval.path=TEXT`: n-gram models of a text dataset (a run's
/// data.path), counted by all ranks together, on another one. For the unigram model with one added
/// to every count, add-k of order 3 with the k that does best there, and modified Kneser-Ney of
/// orders 2, 3 and 5: perplexity and loss (nats) per token, ends of sentences included, and without
/// tokens the training text lacks. The same on any number of ranks.
CommandResult evaluate_ngram(const TargetArgs& args);

}  // namespace kiln
