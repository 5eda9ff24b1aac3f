#pragma once

#include <memory>
#include <vector>

#include "core/types.h"
#include "models/gpt/gpt_block.h"

// A transformer over sequences of tokens that predicts each token from those before it, or masked
// tokens from all others.
//
// B samples, L tokens, D width, V tokens of the table, O tokens that are predicted.

namespace kiln {

struct Gpt : torch::nn::Module {
  Gpt(const GptShape& shape, const at::TensorOptions& options);

  /// Rows of the table plus positions 0 .. L-1: [B, L] int64 -> [B, L, D]. Where `masked` (bool
  /// [B, L]) is defined and true, the token's row counts as zero.
  at::Tensor embed(const at::Tensor& tokens, const at::Tensor& masked, DropoutStream& drop) const;
  /// All blocks: [B, L, D] -> [B, L, D].
  at::Tensor mix(const at::Tensor& embedded, bool is_causal, DropoutStream& drop) const;
  /// Scores over the predicted tokens: [..., D] -> [..., O].
  at::Tensor logits(const at::Tensor& mixed) const;
  /// The input of the middle block after its first norm: where iGPT's features come from. [B, L, D]
  at::Tensor middle(const at::Tensor& embedded, bool is_causal) const;

  /// Empty caches for B sequences of at most `length` tokens, one a block.
  std::vector<KeyValueCache> make_caches(std::int64_t B, std::int64_t length) const;
  /// Scores behind the last of `tokens` [B, L], which follow those in `caches`: [B, O]. The same as
  /// embed, mix and logits over the whole sequence, up to the order of sums.
  at::Tensor next_logits(const at::Tensor& tokens, std::vector<KeyValueCache>& caches) const;

  GptShape shape;
  at::Tensor tokens;     // [V, D]
  at::Tensor positions;  // [max_positions, D]
  std::vector<std::shared_ptr<GptBlock>> blocks;
  std::shared_ptr<GptNorm> norm;
  std::shared_ptr<Linear> head;  // [O, D], no bias
};

/// Parameters in order of execution. kMini decays the weights of linear maps only, as VQGAN's code
/// does; kImage decays all matrices and tables.
std::vector<Parameter> gpt_parameters(const Gpt& gpt);

/// Weights before training.
///   kImage  tokens N(0, .02), positions N(0, .01), qkv N(0, 1 / sqrt(D)), proj N(0, 1 / sqrt(D
///           depth)), mlp N(0, .02), head 0
///   kMini   tokens and linear maps N(0, .02), positions 0
/// Norms are 1 and biases 0. The second argument of N is the standard deviation.
void initialise_gpt(std::vector<Parameter>& parameters, const GptShape& shape, std::uint64_t seed);

/// tokens [B, L] moved one place to the right behind `first` [B, 1]: the input that predicts them.
at::Tensor shifted(const at::Tensor& first, const at::Tensor& tokens);

/// -log softmax(logits)[token]: [B, L, O] and [B, L] -> [B, L] in at least fp32.
at::Tensor token_losses(const at::Tensor& logits, const at::Tensor& tokens);

}  // namespace kiln
