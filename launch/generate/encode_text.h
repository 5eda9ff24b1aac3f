#pragma once

#include "launch/generate/encode.h"
#include "launch/run/world.h"
#include "launch/trained/trained_model.h"

namespace kiln {

/// `kiln encode` of a TextEncoder: texts -> a dataset of kind "text_features", a sample a text:
///   context    float16 [S, D]  hidden states of the last layer, zeros behind the text's [SEP]
///   embedding  float32 [D]     all of it, as TextEncoder::text_pooling() says
/// S is data.sequence_length: the run's, unless given; longer texts are cut, which is counted.
/// Ranks share the shards. dataset.json notes "weights_hash", "tokenizer_hash", "sequence_length"
/// and "pool". Result: "samples", "cut", "path", the hashes.
/// Collective.
CommandResult encode_text(const EncodeArgs& args, const TrainedModel& model, World& world);

}  // namespace kiln
