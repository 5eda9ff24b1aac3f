#pragma once

#include <memory>

#include "data/batch_source.h"
#include "data/store/dataset.h"

namespace kiln {

/// Field "context" of a dataset, float16 [S, E]: S tokens of width E of a text that belongs to a
/// sample. Null where samples have none; throws Error(kData) for anything else of that name.
const FieldInfo* find_context(const Dataset& dataset);

/// Nothing but "context" float16 [B, S, E], of any dataset that has it: embeddings of texts, or
/// latents beside which they were stored. Throws Error(kData) if `dataset` has none.
std::shared_ptr<const BatchSource> make_context_source(std::shared_ptr<const Dataset> dataset);

}  // namespace kiln
