#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/recipe/options.h"
#include "models/gpt/gpt.h"

// B samples, P tokens given, L tokens drawn, O tokens to draw from.

namespace kiln {

/// How the next token is drawn.
struct TokenSampling {
  double temperature = 1.0;
  std::optional<std::int64_t> top_k;  // tokens less likely than the k-th are left out
  double top_p = 1.0;  // of the likeliest, as few as have this probability (arXiv:1904.09751)

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("temperature", temperature, "Divides the scores; below 1 draws what is likelier.",
          kExecution);
    visit("top_k", top_k, "Draws among the so many likeliest tokens; default: all.", kExecution);
    visit("top_p", top_p, "Draws among the likeliest tokens that have this probability together.",
          kExecution);
  }
  /// What is wrong with these numbers, in the words of a recipe.
  std::vector<std::string> problems() const;
};

/// softmax(logits / temperature) over the tokens that are left: [B, O] -> [B, O] fp64. Tokens as
/// likely as the last one taken are taken too.
at::Tensor token_probabilities(const at::Tensor& logits, const TokenSampling& sampling);

/// A token for each row of probabilities [B, O] fp64 on the host: int64 [B]. Row b takes number
/// `index` of Philox(seed, kSampling, first_sample + b).
at::Tensor draw_tokens(const at::Tensor& probabilities, std::uint64_t seed,
                       std::int64_t first_sample, std::int64_t index);

/// L tokens behind `given` int64 [B, P], each drawn after those before it: int64 [B, L] on the host.
/// Row b is sample number first_sample + b: its tokens depend on that, seed, options and `given`.
/// Keys and values are kept, so that a token costs one pass over the weights.
at::Tensor generate_tokens(const Gpt& gpt, const at::Tensor& given, std::int64_t L,
                           const TokenSampling& sampling, std::uint64_t seed,
                           std::int64_t first_sample);

}  // namespace kiln
