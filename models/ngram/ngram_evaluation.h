#pragma once

#include <memory>

#include "models/capabilities.h"

namespace kiln {

/// Of the unigram model with one added to every count, add-k of order 3 with the k that does best on
/// the held-out text itself, and modified Kneser-Ney of orders 2, 3 and 5: perplexity and loss (nats)
/// per token, ends of sentences included, and without tokens the training text lacks.
std::unique_ptr<CountedModel> make_ngram_evaluation();

}  // namespace kiln
