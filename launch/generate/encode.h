#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/run/result.h"

namespace kiln {

struct EncodeArgs {
  std::string of;    // an autoencoder or a text encoder: a run, a checkpoint, a Hugging Face folder
  std::string data;  // of images; of text, or a file of lines
  std::vector<std::string> overrides;  // data.key=value: how images are read, data.size say
  std::string text_key = "text";       // *.jsonl: the key of a line's text
  std::filesystem::path out;
  std::string context = {};  // embeddings to store beside the latents, one row per image
  bool has_flips = false;    // every image a second time, mirrored
  std::int64_t batch = 64;   // samples encoded together; part of the result's bits
  std::string device = "auto";
  std::int64_t threads = 1;  // another number may change the last bits
};

/// `kiln encode`: a dataset of images -> a dataset of their latents, "moments" float16 [2E, h, w]
/// (mean and log-variance; -30 for a VQ autoencoder, whose latents are certain), with labels and
/// with the texts of `context`: field "context" of another dataset, whose row i belongs to image i
/// and to its mirror image. Ranks share the shards. dataset.json notes "autoencoder_hash" and
/// "latent_scale", 1 over the standard deviation of sampled latents over the whole dataset. Result:
/// "samples", "latent_scale", "path".
/// For texts: launch/generate/encode_text.h.
CommandResult encode_dataset(const EncodeArgs& args);

}  // namespace kiln
