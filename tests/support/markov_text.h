#pragma once

#include <cstdint>
#include <vector>

#include "models/bert/bert_objective.h"

// A corpus whose masked words can be predicted exactly: x_{i+1} = 3 x_i + 1 mod 16 with probability
// 0.7, else uniform. What the best predictor reaches follows from the forward-backward recursion.

namespace kiln::markov {

inline constexpr std::int64_t kWords = 16, kLength = 32;

/// Rows of kLength words at positions [first, first + count), each word chosen with probability .15
/// on its own, and shown as [MASK], itself or a random word (80, 10, 10 %). In place of what a
/// dataset and BertObjective::prepare make of text.
Batch make_batch(std::int64_t first, std::int64_t count, std::uint64_t seed);

/// Two blocks of width 64, no dropout, pieces 0 to 15 and [MASK] = 16.
BertObjective make_objective();

/// Mean cross-entropy over the masked words of a batch of the exact posterior, and of that which
/// sees the words to the left only.
struct BayesLoss {
  std::vector<double> both, left;  // per masked word, in the order of masked_token
};
BayesLoss bayes_loss(const Batch& batch);

struct Training {
  int ranks = 1;  // threads
  std::int64_t steps = 20, global_batch = 32, micro_batch = 4;
  double lr = 1e-3;
  std::int64_t warmup_steps = 0;
  int threads = 1;  // per rank
  /// Each rank divides by its own masked words, and the mean over ranks is taken: what goes wrong
  /// where counts differ.
  bool is_locally_normalised = false;
};
/// Trains one objective per rank on positions 0, 1, ...; the loss of every step. `trained`: rank
/// 0's objective, or null.
std::vector<double> train(const Training& setup, BertObjective* trained = nullptr);

}  // namespace kiln::markov
