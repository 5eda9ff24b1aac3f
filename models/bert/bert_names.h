#pragma once

#include "models/bert/bert.h"
#include "models/interchange/names.h"

// BERT under the names of checkpoint files on the Hugging Face hub (BertForPreTraining,
// BertForMaskedLM, BertModel).

namespace kiln {

/// Names of the shape's tensors. Without MLM head they are those of a bare BertModel, which lack
/// the prefix "bert.".
NameTable bert_names(const BertShape& shape);

/// Brings any layout these models were published in to the names of bert_names():
/// - layer norms called gamma and beta,
/// - names of the original TensorFlow code ("bert/encoder/layer_0/.../kernel", with matrices [in,
/// out]
///   that are transposed here; optimizer state is left out),
/// - bare models with or without the prefix,
/// - copies of the tied decoder, which are dropped; `origin` names the file if they differ from
/// what
///   they are tied to, and Error(kCheckpoint) is thrown,
/// - "position_ids", which hold no weights.
NamedTensors normalise_bert_names(const NamedTensors& theirs, const std::string& origin);

/// Sets which heads the tensors (after normalise_bert_names) hold.
void set_bert_heads(BertShape& shape, const NamedTensors& theirs);

}  // namespace kiln
