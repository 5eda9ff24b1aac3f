#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kiln {

/// Which of two published variants of the block.
enum class GptForm {
  kImage,  // iGPT (Chen et al., "Generative pretraining from pixels", ICML 2020): norms without mean
           // and shift, quick GELU, no biases
  kMini,   // minGPT, the second stage of VQGAN (Esser et al., arXiv:2012.09841): layer norm, exact
           // GELU, biases everywhere but in the head
};

/// Sizes of a GPT.
struct GptShape {
  GptForm form = GptForm::kImage;
  std::int64_t vocab_size =
      513;  // V, rows of the table of tokens: iGPT's colours and a start token
  std::int64_t num_outputs = 512;  // O, tokens that are predicted
  std::int64_t max_positions = 1024;
  std::int64_t dim = 512;
  std::int64_t depth = 24;
  std::int64_t heads = 8;
  double norm_eps = 1e-5;
  double dropout = 0.0;  // of the embeddings and of each branch's output
  double attention_dropout = 0.0;

  bool has_biases() const { return form == GptForm::kMini; }
  std::int64_t head_dim() const { return dim / heads; }
  /// What is wrong with these numbers, one line each, in the words of a recipe.
  std::vector<std::string> problems() const;
};

/// A published size by name: "igpt_s", "igpt_m", "igpt_l", "vqgan_faces", "vqgan_cin"; or
/// "igpt_tiny", for two CPU cores. Returns false
/// where there is none.
bool set_gpt_preset(GptShape& shape, const std::string& preset);
std::vector<std::string> gpt_preset_names();

}  // namespace kiln
