#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kiln {

/// What a model needs to know of the data it will see. Filled from dataset.json and the recipe's
/// [data] section by data/, read by models/ through launch/.
struct DatasetInfo {
  std::string kind;  // "image", "text", "pairs", "latent"
  std::int64_t num_samples = 0;
  std::string fingerprint;  // hash over all shards' hashes

  // Images and latents as batches carry them: uint8 "image" [B, H, W, C]; fp16 "moments" [B, 2C, H,
  // W].
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<double> mean;  // per channel, of values in [0, 1]
  std::vector<double> std;
  std::vector<std::string> class_names;  // empty: no labels
  std::string autoencoder_hash;          // latents: weights_hash of what encoded them
  double latent_scale = 0.0;             // latents: 1 / their standard deviation; 0: not measured

  // Text: "tokens" [B, sequence_length].
  std::int64_t vocab_size = 0;
  std::int64_t sequence_length = 0;
  std::string tokenizer_hash;
  bool has_pairs = false;  // samples are sentence pairs with "pair_label" [B]
  std::int64_t mask_token = 0;
};

}  // namespace kiln
