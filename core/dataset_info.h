#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace kiln {

/// What a model needs to know of the data it will see. Filled from dataset.json and the recipe's
/// [data] section by data/, read by models/ through launch/.
struct DatasetInfo {
  std::string kind;  // a row of data/kinds.cpp: "image", "text", ...
  std::int64_t num_samples = 0;
  std::string fingerprint;  // hash over all shards' hashes
  /// What else makes it this dataset for a run: part of the recipe's identity as data.NAME.
  std::map<std::string, std::string> identity;
  std::vector<std::string> class_names;  // empty: no labels

  // Images and latents as batches carry them: uint8 "image" [B, H, W, C]; fp16 "moments" [B, 2C, H,
  // W].
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<double> mean;  // per channel, of values in [0, 1]
  std::vector<double> std;

  /// Where the recipe lists views: what "image.0", "image.1", ... are, uint8 [B, size, size, C], which
  /// a batch of training then has instead of "image". An evaluation reads "image", at the first
  /// one's size.
  struct View {
    std::int64_t group = 0;  // number of its [[data.views]]
    std::int64_t size = 0;
  };
  std::vector<View> views;

  // Sequences: "tokens" [B, sequence_length], ids below vocab_size.
  std::int64_t vocab_size = 0;
  std::int64_t sequence_length = 0;

  /// What one kind alone has. text, labelled_text: "mask_token", "has_pairs" (samples are sentence
  /// pairs with "pair_label" [B]); latent: "autoencoder_hash" (weights_hash of what encoded them),
  /// "latent_scale" (1 / their standard deviation, where it was measured).
  std::map<std::string, std::string> facts;

  /// The fact called `name`, or `fallback`.
  std::string fact(const std::string& name, const std::string& fallback = "") const {
    const auto found = facts.find(name);
    return found == facts.end() ? fallback : found->second;
  }
  double number(const std::string& name) const { return std::stod(fact(name, "0")); }
  std::int64_t integer(const std::string& name) const { return std::stoll(fact(name, "0")); }
  bool is(const std::string& name) const { return fact(name) == "true"; }
};

}  // namespace kiln
