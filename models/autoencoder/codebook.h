#pragma once

#include <cstdint>

#include "core/objective.h"
#include "core/torch.h"
#include "models/autoencoder/bottleneck.h"

// K codes of E channels, M micro-batches of a step.

namespace kiln {

struct CodebookOptions {
  std::int64_t codes = 0;
  std::int64_t channels = 0;
  bool is_averaged = false;  // codes are running averages of the vectors they stand for
  double decay = 0.99;
  double restart_below = 0.0;  // share of the mean use; 0: no restarts
};

/// What codes are used for, over steps: share of use, and with averaged codes (van den Oord et al.,
/// arXiv 1711.00937, appendix A.1) their sizes and sums. Everything is added up from the global
/// batch, so it is the same on any number of ranks.
struct CodebookStatistics : torch::nn::Module {
  CodebookStatistics(const CodebookOptions& options, const at::TensorOptions& tensor_options);

  /// Averages start where the codes are.
  void start_from(const at::Tensor& codes);
  /// Counts and sums of one micro-batch, number `micro_batch` of M. Each also proposes one of its
  /// vectors as a new beginning for an unused code.
  Sums contributions(const at::Tensor& z, const at::Tensor& indices, std::int64_t micro_batch,
                     std::int64_t num_micro_batches) const;
  /// Updates usage, and `codes` where they are averages. An averaged code used less than
  /// restart_below times the mean begins anew at one of the proposals.
  void update(const Sums& sums, std::int64_t step, at::Tensor& codes);
  /// exp(entropy of usage): the number of codes in real use, 1 .. K. 0 before the first update.
  at::Tensor perplexity() const;

  CodebookOptions options;
  at::Tensor usage;         // [K], sums to 1 after the first update
  at::Tensor cluster_size;  // [K]
  at::Tensor cluster_sum;   // [K, E]
};

}  // namespace kiln
