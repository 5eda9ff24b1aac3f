#pragma once

#include "launch/generate/encode.h"

namespace kiln {

/// `kiln encode` of BERT: texts -> a dataset of kind "text_features", a sample a text:
///   context    float16 [S, D]  hidden states of the last layer, zeros behind the text's [SEP]
///   embedding  float32 [D]     the pooler's output for [CLS] where the model has one (pretraining
///                              had pairs), else the mean over the words, as `kiln eval finetune`
///                              pools
/// S is data.sequence_length: the run's, unless given; longer texts are cut, which is counted.
/// Ranks share the shards. dataset.json notes "weights_hash", "tokenizer_hash", "sequence_length"
/// and "pool". Result: "samples", "cut", "path", the hashes.
CommandResult encode_text(const EncodeArgs& args);

}  // namespace kiln
