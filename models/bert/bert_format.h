#pragma once

#include "models/interchange/format.h"

namespace kiln {

struct BertShape;

/// BertForPreTraining, BertForMaskedLM or BertModel, by the heads there are.
InterchangeFormat bert_format();

/// Sizes from config.json; the heads are told by the tensors. Throws Error(kCheckpoint).
BertShape bert_shape_from_config(const nlohmann::json& config, const std::string& origin);

}  // namespace kiln
