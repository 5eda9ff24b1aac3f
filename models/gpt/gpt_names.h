#pragma once

#include <string>

#include "models/gpt/gpt_shape.h"
#include "models/layers/parameters.h"

// GPTs under the names of published files, both ways, exact to the bit:
// - kImage: transformers' ImageGPTForCausalImageModeling. Matrices of blocks are [in, out] there, and
//   biases exist and are zero.
// - kMini: the `transformer` of VQGAN's second stage, whose positions are [1, max_positions, D].

namespace kiln {

NamedTensors gpt_to_theirs(const GptShape& shape, const NamedTensors& ours);

/// Throws Error(kCheckpoint) for missing and unexpected tensors and, for kImage, for biases that are
/// not zero; `origin` says where the tensors come from.
NamedTensors gpt_to_ours(const GptShape& shape, const NamedTensors& theirs,
                         const std::string& origin);

}  // namespace kiln
