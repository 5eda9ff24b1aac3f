#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/torch.h"
#include "core/types.h"
#include "models/layers/block.h"

// BERT (Devlin et al., "BERT: Pre-training of deep bidirectional transformers", arXiv:1810.04805).
//
// B samples, L tokens, D width, V vocabulary, K tokens to predict.

namespace kiln {

/// What weights are before training.
struct BertInit {
  double std = 0.02;  // of the truncated normal
  /// Position embeddings as waves: of deviation std too, rows nearby alike.
  bool has_position_waves = false;
};

struct BertShape {
  std::int64_t vocab_size = 30'522;
  std::int64_t max_positions = 512;
  std::int64_t num_segments = 2;
  std::int64_t dim = 768;
  std::int64_t depth = 12;
  std::int64_t heads = 12;
  std::int64_t mlp_dim = 3072;
  double layer_norm_eps = 1e-12;
  BertInit init;
  bool has_tanh_gelu = false;  // else the exact (erf) form
  double dropout = 0.1;
  double attention_dropout = 0.1;
  bool has_mlm_head = true;
  bool has_pooler = true;
  bool has_pair_head = true;  // next sentence or sentence order; needs the pooler

  /// What is wrong with these numbers, one line each, in the words of a recipe.
  std::vector<std::string> problems() const;
};

/// Linear D -> D, GELU, layer norm; then the word embeddings as decoder, with a bias [V] of its
/// own.
struct MlmHead : torch::nn::Module {
  MlmHead(const BertShape& shape, const at::TensorOptions& options);
  at::Tensor transform(const at::Tensor& x) const;  // [..., D] -> [..., D]

  bool has_tanh_gelu;
  std::shared_ptr<Linear> dense;
  std::shared_ptr<LayerNorm> norm;
  at::Tensor bias;
};

/// Encoder with post-norm blocks, and the heads of pretraining.
struct Bert : torch::nn::Module {
  Bert(const BertShape& shape, const at::TensorOptions& options);

  struct Input {
    at::Tensor tokens;    // [B, L] int64
    at::Tensor position;  // [B, L] or [1, L] int64
    at::Tensor segment;   // [B, L] int64; undefined: all 0
    at::Tensor mask;      // as in attend(), [B, 1, L, L] or [B, 1, 1, L]; undefined: none
  };
  /// Sum of the three embeddings, layer norm, dropout: [B, L, D].
  at::Tensor embed(const Input& input, DropoutStream& drop) const;
  at::Tensor encode(const Input& input, DropoutStream& drop) const;  // [B, L, D]
  /// Rows of encode()'s result, numbered b * L + l: rows [K] -> [K, D]. The last block computes no
  /// more than it must.
  at::Tensor encode_rows(const Input& input, const at::Tensor& rows, DropoutStream& drop) const;
  /// tanh of a linear map of the first token: [B, L, D], or those tokens [B, D] -> [B, D].
  at::Tensor pool(const at::Tensor& x) const;
  /// Scores over the vocabulary for any rows of the encoder's output: [..., D] -> [..., V].
  at::Tensor mlm_logits(const at::Tensor& x) const;
  at::Tensor pair_logits(const at::Tensor& pooled) const;  // [B, D] -> [B, 2]

  BertShape shape;
  at::Tensor word_embeddings;      // [V, D]
  at::Tensor position_embeddings;  // [max_positions, D]
  at::Tensor segment_embeddings;   // [num_segments, D]
  std::shared_ptr<LayerNorm> embeddings_norm;
  std::vector<std::shared_ptr<TransformerBlock>> blocks;
  std::shared_ptr<Linear> pooler;     // null without
  std::shared_ptr<MlmHead> mlm;       // null without
  std::shared_ptr<Linear> pair_head;  // null without
};

/// Parameters in order of execution. Decay is off for biases and layer norms; embeddings decay.
std::vector<Parameter> bert_parameters(const Bert& bert);

/// Truncated normal for matrices and embeddings, norms 1, biases 0. Position waves, where chosen:
/// sqrt(2) std (sin, cos)(position * L^(-2 i / D)) in columns 2 i and 2 i + 1 of [L, D].
void initialise_bert(std::vector<Parameter>& parameters, const BertInit& init, std::uint64_t seed);

}  // namespace kiln
